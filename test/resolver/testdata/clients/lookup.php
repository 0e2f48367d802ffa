<?php
// Looks up the name with gethostbynamel, which asks for A only, and prints whether it was found, and the addresses.
$found = gethostbynamel($argv[1]);
echo $found === false ? "not_found\n" : "found\n" . implode("\n", $found) . "\n";
