# Looks up names with dnspython, which has a resolver of its own: A, then AAAA.
import sys

import dns.exception
import dns.resolver

resolver = dns.resolver.Resolver()
resolver.use_search_by_default = True
for name in sys.argv[1:]:
    for kind in ("A", "AAAA"):
        try:
            resolver.resolve(name, kind, search=True)
        except dns.exception.DNSException:
            pass
