# Looks up names with Net::DNS, which has a resolver of its own that stops at ndots.
# With "persistent" it asks from one port.
use strict;
use warnings;
use Net::DNS;

my $mode     = shift;
my $resolver = Net::DNS::Resolver->new( udp_timeout => 2, persistent_udp => $mode eq 'persistent' );
foreach my $name (@ARGV) {
    $resolver->search( $name, $_ ) foreach 'A', 'AAAA';
}
