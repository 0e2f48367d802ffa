// Looks up the name with dns.lookup, which is getaddrinfo, and prints the outcome and the addresses.
require('dns').lookup(process.argv[2], {all: true, verbatim: true}, (err, addresses) => {
  if (err) {
    console.log({ENOTFOUND: 'not_found', EAI_AGAIN: 'temporary_failure', ENODATA: 'no_data'}[err.code] || 'failure');
    return;
  }
  console.log(['found', ...addresses.map((a) => a.address)].join('\n'));
});
