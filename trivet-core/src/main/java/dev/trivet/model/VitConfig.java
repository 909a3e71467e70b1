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
 * @param registers further tokens behind the class token that no head looks at; they are part of the positions
 * @param preLogits width of a layer with tanh before the head, 0 for none
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
        float layerNormEpsilon,
        int registers,
        int preLogits)
        implements Geometry {

    /** Bounds far above any published model; they keep a hostile config from asking for terabytes. */
    private static final int LARGEST = 1 << 16;

    private static final int MOST_REGISTERS = 1 << 10;

    /** A model without register tokens and without a layer before its head. */
    public VitConfig(
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
            float layerNormEpsilon) {
        this(
                imageSize,
                patchSize,
                channels,
                width,
                depth,
                heads,
                mlpWidth,
                classes,
                pooling,
                classToken,
                distilled,
                qkvBias,
                layerNormEpsilon,
                0,
                0);
    }

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
        if (registers < 0 || registers > MOST_REGISTERS) {
            throw new IllegalArgumentException(
                    "register tokens must be in 0.." + MOST_REGISTERS + ", not " + registers);
        }
        if (preLogits < 0 || preLogits > LARGEST) {
            throw new IllegalArgumentException("pre-logits must be in 0.." + LARGEST + ", not " + preLogits);
        }
        if (distilled && preLogits > 0) {
            throw new IllegalArgumentException("a distilled model has no layer before its heads");
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

    /** Patches of one image. */
    public int patches() {
        return grid() * grid();
    }

    /** Class, distillation and register tokens. */
    public int prefixTokens() {
        return (classToken ? 1 : 0) + (distilled ? 1 : 0) + registers;
    }

    @Override
    public int headTokens() {
        if (pooling != Pooling.TOKEN) {
            return tokens();
        }
        return distilled ? 2 : 1;
    }

    /** Channels of the head's input. */
    public int headInputs() {
        return preLogits > 0 ? preLogits : width;
    }

    private List<String> headLinears() {
        if (distilled) {
            return List.of(VitNames.HEAD, VitNames.DISTILLATION_HEAD);
        }
        return preLogits > 0 ? List.of(VitNames.PRE_LOGITS, VitNames.HEAD) : List.of(VitNames.HEAD);
    }

    /** Tokens of one image: class, distillation and register tokens, then patches. */
    public int tokens() {
        return prefixTokens() + patches();
    }

    /** Channels of one attention head. */
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
    public VitConfig withClasses(int number) {
        return new VitConfig(
                imageSize,
                patchSize,
                channels,
                width,
                depth,
                heads,
                mlpWidth,
                number,
                pooling,
                classToken,
                distilled,
                qkvBias,
                layerNormEpsilon,
                registers,
                preLogits);
    }

    @Override
    public List<ModelUnit> units() {
        List<ModelUnit> units = new ArrayList<>();
        units.add(new ModelUnit.Embedding(new TokenShape(channels, imageSize * imageSize), stream()));
        for (int b = 0; b < depth; b++) {
            units.add(new ModelUnit.Block(VitNames.block(b), stream(), heads, mlpWidth, 1, tokens(), Optional.empty()));
        }
        units.add(new ModelUnit.Head(stream(), new TokenShape(1, classes), VitNames.finalNorm(this), headLinears()));
        return List.copyOf(units);
    }
}
