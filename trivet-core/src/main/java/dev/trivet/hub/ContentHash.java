package dev.trivet.hub;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Hashes of a file's contents. The hub names large files by SHA-256 and small ones as git does: SHA-1 of {@code "blob "}, the
 * length in decimal, a zero byte and the contents.
 *
 * @param bytes length of the file
 * @param sha256 64 hexadecimal digits
 * @param git git's name, 40 hexadecimal digits; only where it was asked for
 */
record ContentHash(long bytes, String sha256, Optional<String> git) {
    private static final Pattern NAME = Pattern.compile("[0-9a-f]{40}|[0-9a-f]{64}");
    private static final int GIT_DIGITS = 40;

    /** Whether an entity tag is a hash that can be checked. */
    static boolean isHash(String etag) {
        return NAME.matcher(etag).matches();
    }

    /** Hashes a file as far as comparing it with {@code etag} needs. */
    static ContentHash of(Path file, String etag) {
        MessageDigest sha256 = digest("SHA-256");
        boolean wantsGit = etag.length() == GIT_DIGITS;
        MessageDigest git = digest("SHA-1");
        try (InputStream in = Files.newInputStream(file)) {
            long length = Files.size(file);
            git.update(("blob " + length + "\0").getBytes(StandardCharsets.US_ASCII));
            byte[] buffer = new byte[1 << 16];
            long bytes = 0;
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                sha256.update(buffer, 0, n);
                if (wantsGit) {
                    git.update(buffer, 0, n);
                }
                bytes += n;
            }
            return new ContentHash(bytes, hex(sha256), wantsGit ? Optional.of(hex(git)) : Optional.empty());
        } catch (IOException e) {
            throw new BadInputException(
                    file, "cannot be read (" + BadInputException.reason(e) + ")", "check the cache's folder", e);
        }
    }

    /** Whether the contents are those that {@code etag} names. */
    boolean matches(String etag) {
        return etag.equals(sha256) || git.filter(etag::equals).isPresent();
    }

    private static String hex(MessageDigest digest) {
        return HexFormat.of().formatHex(digest.digest());
    }

    private static MessageDigest digest(String algorithm) {
        try {
            return MessageDigest.getInstance(algorithm);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every JVM has both
        }
    }
}
