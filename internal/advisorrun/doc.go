// Package advisorrun is what a run of the advisor does in a cluster besides reading
// logs: it records those of the caches for a while, keeps the document in ConfigMaps,
// and leaves its report, how it ended, and Events.
package advisorrun
