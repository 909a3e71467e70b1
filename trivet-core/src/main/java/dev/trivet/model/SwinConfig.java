package dev.trivet.model;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Geometry of a Swin Transformer, first version: square patches, stages of pre-norm blocks that attend within windows, every second
 * block with shifted windows, a patch merging before each stage but the first, LayerNorm, the mean of all tokens, a linear head.
 *
 * @param imageSize side of the input image, pixels
 * @param patchSize side of a patch, pixels; divides {@code imageSize}
 * @param channels colour channels, 1 or 3
 * @param width embedding dimension of the first stage; doubles with each stage
 * @param depths blocks of each stage
 * @param heads attention heads of each stage; each divides its stage's width
 * @param window tokens along one side of a window; a smaller map is one window
 * @param mlpRatio hidden units of the MLP over the stage's width
 * @param classes outputs of the head
 * @param qkvBias whether the q, k, v projection has a bias
 * @param absolutePositions whether positions are added to the embedding
 * @param padding what is done where windows do not divide a map
 * @param layerNormEpsilon added to the variance in each LayerNorm
 */
public record SwinConfig(
        int imageSize,
        int patchSize,
        int channels,
        int width,
        List<Integer> depths,
        List<Integer> heads,
        int window,
        double mlpRatio,
        int classes,
        boolean qkvBias,
        boolean absolutePositions,
        WindowPadding padding,
        float layerNormEpsilon)
        implements Geometry {

    /** Bounds far above any published model; they keep a hostile config from asking for terabytes. */
    private static final int LARGEST = 1 << 16;

    private static final int MOST_STAGES = 8;
    private static final int MOST_BLOCKS = 1 << 10;
    private static final int LARGEST_WINDOW = 64;
    private static final long MOST_SCORES = 1L << 28;

    /** @throws IllegalArgumentException if the numbers do not describe a model; the message says which */
    public SwinConfig {
        depths = List.copyOf(depths);
        heads = List.copyOf(heads);
        check(imageSize, LARGEST, "image size");
        check(patchSize, LARGEST, "patch size");
        check(width, LARGEST, "width");
        check(depths.size(), MOST_STAGES, "number of stages");
        check(window, LARGEST_WINDOW, "window");
        check(classes, LARGEST, "class count");
        if (channels != 1 && channels != 3) {
            throw new IllegalArgumentException("channels must be 1 or 3, not " + channels);
        }
        if (imageSize % patchSize != 0) {
            throw new IllegalArgumentException("patch size " + patchSize + " does not divide image size " + imageSize);
        }
        long side = imageSize / patchSize;
        check(side * side, LARGEST, "patch count");
        check((long) channels * patchSize * patchSize, LARGEST, "patch length");
        if (heads.size() != depths.size()) {
            throw new IllegalArgumentException(heads.size() + " head counts for " + depths.size() + " stages");
        }
        if (!(mlpRatio > 0 && mlpRatio <= 64)) {
            throw new IllegalArgumentException("MLP ratio " + mlpRatio + " is not in (0, 64]");
        }
        if (!(layerNormEpsilon > 0 && layerNormEpsilon < 1)) {
            throw new IllegalArgumentException("LayerNorm epsilon " + layerNormEpsilon + " is not in (0, 1)");
        }
        long stageSide = side;
        for (int s = 0; s < depths.size(); s++) {
            long stageWidth = (long) width << s;
            check(4 * stageWidth, LARGEST, "merged width of stage " + s);
            check((long) (stageWidth * mlpRatio), LARGEST, "MLP width of stage " + s);
            check(depths.get(s), MOST_BLOCKS, "depth of stage " + s);
            check(heads.get(s), LARGEST, "heads of stage " + s);
            if (stageWidth % heads.get(s) != 0) {
                throw new IllegalArgumentException(
                        heads.get(s) + " heads do not divide width " + stageWidth + " of stage " + s);
            }
            long padded = Math.ceilDiv(stageSide, window) * window;
            check(padded * padded * window * window * heads.get(s), MOST_SCORES, "attention scores of stage " + s);
            if (side >> s == 0) {
                throw new IllegalArgumentException(
                        "no map of " + side + " x " + side + " patches is left for stage " + s);
            }
            stageSide = Math.ceilDiv(stageSide, 2);
        }
    }

    private static void check(long value, long largest, String what) {
        if (value < 1 || value > largest) {
            throw new IllegalArgumentException(what + " must be in 1.." + largest + ", not " + value);
        }
    }

    /** Number of stages. */
    public int stages() {
        return depths.size();
    }

    /** Tokens along one side of a stage's map; merging an odd map pads it by a row and a column. */
    public int side(int stage) {
        int side = imageSize / patchSize;
        for (int s = 0; s < stage; s++) {
            side = Math.ceilDiv(side, 2);
        }
        return side;
    }

    /** Channels of a stage's tokens. */
    public int width(int stage) {
        return width << stage;
    }

    /** Channels of the head's input. */
    public int lastWidth() {
        return width(stages() - 1);
    }

    /** Hidden units of a stage's MLPs. */
    public int mlpWidth(int stage) {
        return (int) (width(stage) * mlpRatio);
    }

    /** Tokens of one image in the first stage. */
    public int patches() {
        return side(0) * side(0);
    }

    /** Length of one flattened patch, {@code channels * patchSize * patchSize}, channel-major. */
    public int patchLength() {
        return channels * patchSize * patchSize;
    }

    /** A stage's tokens. */
    public TokenShape tokens(int stage) {
        return new TokenShape(side(stage) * side(stage), width(stage));
    }

    /** How a block's tokens are cut into windows: blocks of odd number shift them by half a window, unless one window is the map. */
    public WindowPartition windows(int stage, int block) {
        int nominal = padding == WindowPadding.AFTER_SHIFT ? (imageSize / patchSize) >> stage : side(stage);
        boolean single = nominal <= window;
        return new WindowPartition(
                side(stage), single ? nominal : window, single || block % 2 == 0 ? 0 : window / 2, padding);
    }

    @Override
    public SwinConfig withClasses(int number) {
        return new SwinConfig(
                imageSize,
                patchSize,
                channels,
                width,
                depths,
                heads,
                window,
                mlpRatio,
                number,
                qkvBias,
                absolutePositions,
                padding,
                layerNormEpsilon);
    }

    @Override
    public int headTokens() {
        return tokens(stages() - 1).tokens();
    }

    @Override
    public List<ModelUnit> units() {
        List<ModelUnit> units = new ArrayList<>();
        units.add(new ModelUnit.Embedding(new TokenShape(channels, imageSize * imageSize), tokens(0)));
        for (int s = 0; s < stages(); s++) {
            if (s > 0) {
                units.add(new ModelUnit.Merging(SwinNames.merging(s), side(s - 1), tokens(s - 1), tokens(s)));
            }
            for (int b = 0; b < depths.get(s); b++) {
                WindowPartition windows = windows(s, b);
                units.add(new ModelUnit.Block(
                        SwinNames.block(s, b),
                        tokens(s),
                        heads.get(s),
                        mlpWidth(s),
                        windows.windows(),
                        windows.windowTokens(),
                        Optional.of(windows)));
            }
        }
        units.add(new ModelUnit.Head(
                tokens(stages() - 1), new TokenShape(1, classes), SwinNames.FINAL_NORM, List.of(SwinNames.HEAD)));
        return List.copyOf(units);
    }
}
