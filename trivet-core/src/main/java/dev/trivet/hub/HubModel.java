package dev.trivet.hub;

import dev.trivet.BadInputException;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The name of a model on the hub, such as {@code timm/deit_tiny_patch16_224.fb_in1k} or {@code facebook/deit-tiny-patch16-224@main}.
 *
 * @param organisation user or organisation
 * @param name the model's name there
 * @param revision branch, tag or commit
 */
public record HubModel(String organisation, String name, String revision) {
    static final String DEFAULT_REVISION = "main";

    private static final Pattern FORM =
            Pattern.compile("([A-Za-z0-9][A-Za-z0-9_.-]*)/([A-Za-z0-9_.-]+)(?:@([A-Za-z0-9_./-]+))?");
    private static final Pattern COMMIT = Pattern.compile("[0-9a-f]{40}");
    private static final Pattern FILE =
            Pattern.compile(".*\\.(safetensors|pth|pt|bin|json|onnx|tar|zip|gz)", Pattern.CASE_INSENSITIVE);
    private static final int LONGEST = 96; // the hub's own limit

    /** All parts become parts of paths, so nothing that could leave the cache's folder passes. */
    public HubModel {
        String id = organisation + "/" + name;
        if (!FORM.matcher(id + "@" + revision).matches()
                || id.length() > LONGEST
                || Stream.of(organisation, name).anyMatch(HubModel::isUnsound)
                || revision.length() > 255
                || Stream.of(revision.split("/", -1)).anyMatch(HubModel::isUnsoundReference)) {
            throw new BadInputException(
                    id + "@" + revision + ": is not a name that the hub could have; give ORGANISATION/NAME or"
                            + " ORGANISATION/NAME@REVISION");
        }
    }

    /** Two dashes separate the parts of a folder's name in the cache, and the hub has no such names. */
    private static boolean isUnsound(String part) {
        return part.contains("--") || part.contains("..") || part.startsWith(".") || part.endsWith(".");
    }

    private static boolean isUnsoundReference(String part) {
        return part.isEmpty() || part.contains("..") || part.startsWith(".") || part.endsWith(".lock");
    }

    /**
     * Reads a name; empty if the text does not have the form of one or ends like a file of weights.
     *
     * @throws BadInputException if it has the form but no hub could have it, as with {@code a/..}
     */
    public static Optional<HubModel> parse(String text) {
        Matcher matcher = FORM.matcher(text);
        if (!matcher.matches() || FILE.matcher(text).matches()) {
            return Optional.empty();
        }
        String revision = matcher.group(3) == null ? DEFAULT_REVISION : matcher.group(3);
        return Optional.of(new HubModel(matcher.group(1), matcher.group(2), revision));
    }

    /** {@code organisation/name}. */
    public String id() {
        return organisation + "/" + name;
    }

    /** Whether the revision is a full commit, which can never change. */
    boolean isPinned() {
        return isCommit(revision);
    }

    static boolean isCommit(String text) {
        return COMMIT.matcher(text).matches();
    }

    @Override
    public String toString() {
        return revision.equals(DEFAULT_REVISION) ? id() : id() + "@" + revision;
    }
}
