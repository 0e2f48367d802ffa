import java.net.InetAddress;
import java.net.UnknownHostException;

/** Looks up the name with InetAddress, and prints whether it was found, and the addresses. */
public class Lookup {
    public static void main(String[] args) {
        try {
            InetAddress[] found = InetAddress.getAllByName(args[0]);
            System.out.println("found");
            for (InetAddress address : found) {
                System.out.println(address.getHostAddress());
            }
        } catch (UnknownHostException e) {
            System.out.println("not_found");
        }
    }
}
