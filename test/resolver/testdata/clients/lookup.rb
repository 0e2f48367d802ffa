# Looks up the name with getaddrinfo, and prints whether it was found, and the addresses.
require 'socket'
begin
  found = Addrinfo.getaddrinfo(ARGV[0], nil, nil, :STREAM)
  puts 'found', found.map(&:ip_address)
rescue SocketError
  puts 'not_found'
end
