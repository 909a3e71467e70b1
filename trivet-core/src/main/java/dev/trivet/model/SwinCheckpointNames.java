package dev.trivet.model;

import dev.trivet.tensor.Tensor;
import dev.trivet.tensor.TensorSource;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A Swin checkpoint under today's timm names. Microsoft's checkpoints and timm before 0.9 hold a patch merging at the end of the stage
 * before it ({@code layers.0.downsample} leads into stage 1) and call the head {@code head}; today's timm holds it at the start of the
 * stage that it leads into and calls the head {@code head.fc}. Which it is shows in the tensors: only the old placement has
 * {@code layers.0.downsample}. Microsoft's files also carry what the geometry already says, position indices and masks; those are
 * known by name and left out.
 */
final class SwinCheckpointNames implements TensorSource {
    private static final Pattern MERGING = Pattern.compile("layers\\.(\\d{1,3})\\.downsample\\.(.+)");
    private static final Pattern DERIVED =
            Pattern.compile("layers\\.\\d+\\.blocks\\.\\d+\\.(attn\\.relative_position_index|attn_mask)");
    private static final String HEAD = SwinNames.HEAD + ".";
    private static final String OLD_HEAD = "head.";

    private final TensorSource source;
    private final boolean mergingBefore;
    private final boolean oldHead;

    SwinCheckpointNames(TensorSource source) {
        this.source = source;
        mergingBefore = source.find("layers.0.downsample.reduction.weight").isPresent();
        oldHead = source.find("head.weight").isPresent();
    }

    /** Whether the checkpoint has positions to add to the embedding; configs of old checkpoints do not always say. */
    boolean hasPositions() {
        return source.find(SwinNames.POSITIONS).isPresent();
    }

    @Override
    public Path file() {
        return source.file();
    }

    @Override
    public List<String> names() {
        return source.names().stream()
                .filter(name -> !DERIVED.matcher(name).matches())
                .map(this::today)
                .toList();
    }

    @Override
    public Optional<Tensor> find(String name) {
        return source.find(stored(name));
    }

    private String today(String stored) {
        Matcher merging = MERGING.matcher(stored);
        if (mergingBefore && merging.matches()) {
            return SwinNames.merging(Integer.parseInt(merging.group(1)) + 1) + "." + merging.group(2);
        }
        boolean head = oldHead && (stored.equals("head.weight") || stored.equals("head.bias"));
        return head ? HEAD + stored.substring(OLD_HEAD.length()) : stored;
    }

    private String stored(String today) {
        Matcher merging = MERGING.matcher(today);
        if (mergingBefore && merging.matches()) {
            return SwinNames.merging(Integer.parseInt(merging.group(1)) - 1) + "." + merging.group(2);
        }
        return oldHead && today.startsWith(HEAD) ? OLD_HEAD + today.substring(HEAD.length()) : today;
    }
}
