import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioDatagramChannel;
import io.netty.resolver.dns.DnsNameResolver;
import io.netty.resolver.dns.DnsNameResolverBuilder;
import io.netty.util.concurrent.Future;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.util.List;

/**
 * Looks up the names that it reads with Netty's own resolver, and prints whether each was found, the addresses, and an
 * empty line. Every name has a resolver of its own, since a resolver remembers answers.
 */
public class NettyLookup {
    public static void main(String[] args) throws Exception {
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        BufferedReader names = new BufferedReader(new InputStreamReader(System.in));
        for (String name = names.readLine(); name != null; name = names.readLine()) {
            DnsNameResolver resolver = new DnsNameResolverBuilder(group.next()).channelType(NioDatagramChannel.class).build();
            Future<List<InetAddress>> all = resolver.resolveAll(name).await();
            if (all.isSuccess()) {
                System.out.println("found");
                for (InetAddress address : all.getNow()) {
                    System.out.println(address.getHostAddress());
                }
            } else {
                System.out.println("not_found");
            }
            System.out.println();
            resolver.close();
        }
        Runtime.getRuntime().halt(0);
    }
}
