package dev.trivet.hub;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.SocketAddress;
import java.net.URI;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * Proxies as command-line tools know them: {@code HTTPS_PROXY}, {@code HTTP_PROXY}, {@code ALL_PROXY} and {@code NO_PROXY} (a comma-separated
 * list of hosts and of domains), in upper or lower case. Where none is set, the JVM's own properties count.
 */
final class EnvironmentProxy extends ProxySelector {
    private static final int DEFAULT_PORT = 80;

    private final Function<String, Optional<String>> variable;
    private final @Nullable ProxySelector otherwise;

    EnvironmentProxy(Map<String, String> environment) {
        variable = name -> Optional.ofNullable(
                        environment.getOrDefault(name.toLowerCase(Locale.ROOT), environment.get(name)))
                .filter(value -> !value.isBlank());
        otherwise = ProxySelector.getDefault();
    }

    @Override
    public List<Proxy> select(URI uri) {
        String scheme = String.valueOf(uri.getScheme()).toUpperCase(Locale.ROOT);
        String name = scheme + "_PROXY";
        Optional<String> proxy = variable.apply(name).or(() -> variable.apply("ALL_PROXY"));
        if (proxy.isEmpty()) {
            return otherwise == null ? List.of(Proxy.NO_PROXY) : otherwise.select(uri);
        }
        return List.of(isExempt(uri) ? Proxy.NO_PROXY : proxy(name, proxy.get().strip()));
    }

    private boolean isExempt(URI uri) {
        String host = String.valueOf(uri.getHost()).toLowerCase(Locale.ROOT);
        for (String entry : variable.apply("NO_PROXY").orElse("").split(",", -1)) {
            String domain = entry.strip().toLowerCase(Locale.ROOT).replaceFirst("^\\*?\\.", "");
            boolean exempt = domain.equals("*") || host.equals(domain) || host.endsWith("." + domain);
            if (!domain.isEmpty() && exempt) {
                return true;
            }
        }
        return false;
    }

    private static Proxy proxy(String name, String value) {
        try {
            URI uri = URI.create(value.contains("://") ? value : "http://" + value);
            if (uri.getHost() != null && "http".equalsIgnoreCase(uri.getScheme()) && uri.getUserInfo() == null) {
                int port = uri.getPort() < 0 ? DEFAULT_PORT : uri.getPort();
                return new Proxy(Proxy.Type.HTTP, new InetSocketAddress(uri.getHost(), port));
            }
        } catch (IllegalArgumentException _) {
            // Told below; the value may hold a password and is not shown.
        }
        throw new BadInputException(name + " (or ALL_PROXY): is not of the form http://HOST:PORT; correct or unset it");
    }

    @Override
    public void connectFailed(URI uri, SocketAddress address, IOException e) {
        // The request itself fails and says so.
    }
}
