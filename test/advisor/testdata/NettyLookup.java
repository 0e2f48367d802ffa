import io.netty.channel.EventLoop;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioDatagramChannel;
import io.netty.resolver.dns.DnsNameResolver;
import io.netty.resolver.dns.DnsNameResolverBuilder;
import io.netty.resolver.dns.NoopDnsCache;

/** Looks up names with Netty's own resolver. */
class NettyLookup {
    public static void main(String[] names) {
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        EventLoop loop = group.next();
        DnsNameResolver resolver = new DnsNameResolverBuilder(loop).channelType(NioDatagramChannel.class)
            .resolveCache(NoopDnsCache.INSTANCE).build();
        for (String name : names) {
            resolver.resolveAll(name).awaitUninterruptibly();
        }
        resolver.close();
        group.shutdownGracefully(0, 0, java.util.concurrent.TimeUnit.SECONDS);
    }
}
