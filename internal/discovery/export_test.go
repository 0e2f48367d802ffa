package discovery

// Read is tested with the manifests of real clusters.
var Read = read
