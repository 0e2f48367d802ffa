import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.security.Security;

/**
 * Looks up the names that it reads with InetAddress, and prints whether each was found, the addresses, and an empty line. It
 * remembers nothing.
 */
public class Lookup {
    public static void main(String[] args) throws Exception {
        Security.setProperty("networkaddress.cache.ttl", "0");
        Security.setProperty("networkaddress.cache.negative.ttl", "0");
        BufferedReader names = new BufferedReader(new InputStreamReader(System.in));
        for (String name = names.readLine(); name != null; name = names.readLine()) {
            try {
                InetAddress[] found = InetAddress.getAllByName(name);
                System.out.println("found");
                for (InetAddress address : found) {
                    System.out.println(address.getHostAddress());
                }
            } catch (UnknownHostException e) {
                System.out.println("not_found");
            }
            System.out.println();
        }
    }
}
