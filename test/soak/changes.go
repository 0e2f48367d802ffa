package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/rotation"
)

// change is something that operators do to a running installation. No review may be lost meanwhile.
type change struct {
	name string
	do   func(*site, context.Context) error
}

var changes = []change{
	{"rotation of leaf and CA", (*site).rotate},
	{"policy rollout", (*site).rollout},
	{"rolling restart", (*site).rollingRestart},
}

// rollingRestart replaces each server: the new one is ready before the old one gets SIGTERM.
func (s *site) rollingRestart(ctx context.Context) error {
	for _, old := range slices.Clone(s.replicas) {
		if err := s.replace(ctx, old); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) replace(ctx context.Context, old *replica) error {
	if _, err := s.startReplica(ctx); err != nil {
		return err
	}
	return s.endReplica(ctx, old)
}

// rotate renews the leaf, and then CA and leaf.
func (s *site) rotate(ctx context.Context) error {
	if err := s.renew(ctx); err != nil {
		return err
	}
	next, err := cluster.NewCA()
	if err != nil {
		return err
	}
	if err := s.register(ctx, slices.Concat(s.ca.Bundle(), next.Bundle())); err != nil {
		return err
	}
	if err := sleep(ctx, settle); err != nil { // as who replaces a CA has to
		return err
	}
	s.ca = next
	if err := s.renew(ctx); err != nil {
		return err
	}
	return s.register(ctx, next.Bundle())
}

// renew gives each server a new leaf, one after the other, as kubelets do.
func (s *site) renew(ctx context.Context) error {
	for _, r := range s.replicas {
		before, err := rotation.Served(ctx, r.Webhook)
		if err != nil {
			return err
		}
		if err := r.publishCert(s.ca); err != nil {
			return err
		}
		if err := until(ctx, "a new certificate is served", func(ctx context.Context) (bool, error) {
			now, err := rotation.Served(ctx, r.Webhook)
			return err == nil && !now.Equal(before), err
		}); err != nil {
			return err
		}
	}
	return nil
}

// rollout gives each server the other version of the policy, one after the other. In between they disagree.
func (s *site) rollout(ctx context.Context) error {
	next := 1 - s.current
	s.accept(s.current, next)
	for _, r := range s.replicas {
		if err := r.publishPolicy(s.versions[next].text); err != nil {
			return err
		}
		if err := s.inForce(ctx, r, next); err != nil {
			return err
		}
	}
	s.current = next
	s.accept(next)
	return nil
}

func (s *site) inForce(ctx context.Context, r *replica, version int) error {
	return until(ctx, "the policy is in force", func(ctx context.Context) (bool, error) {
		values, err := r.metrics(ctx)
		hash := fmt.Sprintf("shorthop_policy_info{hash=%q}", s.versions[version].hash)
		return values[hash] == 1 && values["shorthop_policy_last_reload_successful"] == 1, err
	})
}

// metrics scrapes a server. Keys are names with labels.
func (r *replica) metrics(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.MetricsURL, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("scraping a server: %w", err)
	}
	defer response.Body.Close()
	values := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			values[name] = value
		}
	}
	return values, lines.Err()
}
