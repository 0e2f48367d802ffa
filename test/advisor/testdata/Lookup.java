import java.net.InetAddress;
import java.net.UnknownHostException;
import java.security.Security;

/** Looks up names as Java programs do: with getaddrinfo of the C library. */
class Lookup {
    public static void main(String[] names) {
        Security.setProperty("networkaddress.cache.ttl", "0");
        Security.setProperty("networkaddress.cache.negative.ttl", "0");
        for (String name : names) {
            try {
                InetAddress.getAllByName(name);
            } catch (UnknownHostException e) {
                // it is the queries that matter
            }
        }
    }
}
