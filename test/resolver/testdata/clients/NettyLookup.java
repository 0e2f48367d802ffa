import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioDatagramChannel;
import io.netty.resolver.dns.DnsNameResolver;
import io.netty.resolver.dns.DnsNameResolverBuilder;
import io.netty.util.concurrent.Future;
import java.net.InetAddress;
import java.util.List;

/** Looks up the name with Netty's own resolver, and prints whether it was found, and the addresses. */
public class NettyLookup {
    public static void main(String[] args) throws Exception {
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        DnsNameResolver resolver = new DnsNameResolverBuilder(group.next()).channelType(NioDatagramChannel.class).build();
        Future<List<InetAddress>> all = resolver.resolveAll(args[0]).await();
        if (all.isSuccess()) {
            System.out.println("found");
            for (InetAddress address : all.getNow()) {
                System.out.println(address.getHostAddress());
            }
        } else {
            System.out.println("not_found");
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }
}
