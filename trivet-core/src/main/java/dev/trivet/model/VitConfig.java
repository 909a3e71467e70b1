package dev.trivet.model;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Geometry of a ViT or DeiT: a square image cut into square patches, {@code depth} pre-norm blocks of multi-head attention
 * and MLP, one or two linear heads.
 *
 * @param imageSize side of the input image, pixels
 * @param patchSize side of a patch, pixels; divides {@code imageSize}
 * @param channels colour channels, 1 or 3
 * @param width embedding dimension
 * @param depth number of blocks
 * @param heads attention heads; divides {@code width}
 * @param mlpWidth hidden units of the MLP
 * @param classes outputs of the head
 * @param pooling how the head's input is made
 * @param classToken whether a class token is prepended
 * @param distilled whether a distillation token and a second head exist (DeiT); their logits are averaged
 * @param qkvBias whether the q, k, v projection has a bias
 * @param layerNormEpsilon added to the variance in each LayerNorm
 */
public record VitConfig(
        int imageSize,
        int patchSize,
        int channels,
        int width,
        int depth,
        int heads,
        int mlpWidth,
        int classes,
        Pooling pooling,
        boolean classToken,
        boolean distilled,
        boolean qkvBias,
        float layerNormEpsilon)
        implements Geometry {

    /** Bounds far above any published model; they keep a hostile config from asking for terabytes. */
    private static final int LARGEST = 1 << 16;

    /** @throws IllegalArgumentException if the numbers do not describe a model; the message says which */
    public VitConfig {
        check(imageSize, "image size");
        check(patchSize, "patch size");
        check(channels, "channels");
        check(width, "width");
        check(depth, "depth");
        check(heads, "heads");
        check(mlpWidth, "MLP width");
        check(classes, "class count");
        if (channels != 1 && channels != 3) {
            throw new IllegalArgumentException("channels must be 1 or 3, not " + channels);
        }
        if (imageSize % patchSize != 0) {
            throw new IllegalArgumentException("patch size " + patchSize + " does not divide image size " + imageSize);
        }
        long side = imageSize / patchSize;
        check(side * side, "patch count");
        check((long) channels * patchSize * patchSize, "patch length");
        if (width % heads != 0) {
            throw new IllegalArgumentException(heads + " heads do not divide width " + width);
        }
        if (pooling == Pooling.TOKEN && !classToken) {
            throw new IllegalArgumentException("token pooling needs a class token");
        }
        if (distilled && (pooling != Pooling.TOKEN)) {
            throw new IllegalArgumentException("a distilled model pools its tokens, not the average");
        }
        if (!(layerNormEpsilon > 0 && layerNormEpsilon < 1)) {
            throw new IllegalArgumentException("LayerNorm epsilon " + layerNormEpsilon + " is not in (0, 1)");
        }
    }

    private static void check(long value, String what) {
        if (value < 1 || value > LARGEST) {
            throw new IllegalArgumentException(what + " must be in 1.." + LARGEST + ", not " + value);
        }
    }

    /** Patches along one side. */
    public int grid() {
        return imageSize / patchSize;
    }

    public int patches() {
        return grid() * grid();
    }

    /** Class and distillation tokens. */
    public int prefixTokens() {
        return (classToken ? 1 : 0) + (distilled ? 1 : 0);
    }

    public int tokens() {
        return prefixTokens() + patches();
    }

    public int headWidth() {
        return width / heads;
    }

    /** Length of one flattened patch, {@code channels * patchSize * patchSize}, channel-major. */
    public int patchLength() {
        return channels * patchSize * patchSize;
    }

    /** The residual stream. */
    private TokenShape stream() {
        return new TokenShape(tokens(), width);
    }

    @Override
    public List<ModelUnit> units() {
        List<ModelUnit> units = new ArrayList<>();
        units.add(new ModelUnit.Embedding(new TokenShape(channels, imageSize * imageSize), stream()));
        for (int b = 0; b < depth; b++) {
            units.add(new ModelUnit.Block(VitNames.block(b), stream(), heads, mlpWidth, 1, tokens(), Optional.empty()));
        }
        units.add(new ModelUnit.Head(
                stream(),
                new TokenShape(1, classes),
                VitNames.finalNorm(this),
                distilled ? List.of(VitNames.HEAD, VitNames.DISTILLATION_HEAD) : List.of(VitNames.HEAD)));
        return List.copyOf(units);
    }
}
