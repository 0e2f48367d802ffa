// Looks up names: "lookup" with getaddrinfo, "resolve" with c-ares, without the search list.
const dns = require('node:dns').promises;
const [how, ...names] = process.argv.slice(2);

(async () => {
  for (const name of names) {
    const asked = how === 'lookup' ? [dns.lookup(name, { all: true })] : [dns.resolve4(name), dns.resolve6(name)];
    await Promise.allSettled(asked);
  }
})();
