# Looks up the name with getaddrinfo, and prints the outcome and the addresses.
use Socket qw(:addrinfo SOCK_STREAM);
my ($err, @found) = getaddrinfo($ARGV[0], "", {socktype => SOCK_STREAM});
if ($err) {
    print $err == EAI_NONAME ? "not_found" : $err == EAI_AGAIN ? "temporary_failure" : $err == Socket::EAI_NODATA ? "no_data" : "failure", "\n";
    exit;
}
print "found\n";
for (@found) {
    my ($e, $address) = getnameinfo($_->{addr}, NI_NUMERICHOST, NIx_NOSERV);
    print "$address\n";
}
