package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.TokenShape;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.runtime.Evaluation;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Which modules of a quantized model do the damage: each gets the input that the float model's module gets, and what it makes
 * of it is held against the float module's, {@code 10 log10(sum a^2 / sum (a - b)^2)}. Noise of earlier modules is not in
 * the figure, so it says where more bits would help.
 *
 * <p>Compared are the patch embedding, what attention and MLP add to the residual stream, and the logits, because these are
 * what a rewritten model keeps: LayerNorm scales may have moved into the layers after them, heads may stand in another basis, and the whole
 * stream may be rotated ({@link StreamBasis}), so inputs of single layers have no counterpart in the float model.
 *
 * <p>A module that was fitted to the noisy stream before it makes up for part of that noise, and on a clean input this looks
 * like noise of its own. So a second figure says what the module does where it stands: noise of the quantized stream after
 * it, less the noise with the float module in its place (on the same quantized stream), as a share of the stream's energy. Negative
 * means that the module repairs more than it spoils, and more bits there are wasted.
 *
 * @param modules in execution order; empty if the streams are unrelated
 * @param basis how the two streams are related
 */
public record ModuleNoise(List<Module> modules, StreamBasis basis) {

    /** Copies the list. */
    public ModuleNoise {
        modules = List.copyOf(modules);
    }

    /**
     * @param module {@code patch_embed}, {@code blocks.N.attn}, {@code blocks.N.mlp} or {@code head}; of a Swin
     *     {@code layers.M.blocks.N...}, and {@code layers.M.downsample} for patch mergings
     * @param sqnrDb infinite where nothing differs
     * @param noiseAdded to the quantized stream (of the head: to the logits), as a share of the float stream's energy;
     *     negative where the module repairs noise of those before it
     * @param weightBits fewest bits of a weight in it; 32 is float
     * @param activationBits fewest bits of an operand in it; 32 is float
     */
    public record Module(String module, double sqnrDb, double noiseAdded, int weightBits, int activationBits) {}

    /** Modules that differ at all, worst first; one whose output is no number is worse than all. */
    public List<Module> worst() {
        return modules.stream()
                .filter(m -> m.sqnrDb() != Double.POSITIVE_INFINITY)
                .sorted(Comparator.comparingDouble(
                        m -> Double.isNaN(m.sqnrDb()) ? Double.NEGATIVE_INFINITY : m.sqnrDb()))
                .toList();
    }

    /**
     * Runs both models part by part, on the calling thread.
     *
     * @param a the float model
     * @param b the quantized model, of the same geometry
     * @param images preprocessed as both models want them
     * @param count how many of them to use, from the first on
     */
    public static ModuleNoise measure(VitModel a, VitModel b, Kernels kernels, CalibrationImages images, int count) {
        if (!a.geometry().equals(b.geometry())) {
            throw new IllegalArgumentException("models of different geometry have no modules in common");
        }
        return new Measurement(a, b, kernels, Math.min(count, images.size())).run(images);
    }

    private static final class Measurement {
        private final VitModel a;
        private final VitModel b;
        private final Kernels kernels;
        private final List<ModelUnit> units;
        private final List<Module> modules = new ArrayList<>();
        /** Tokens of the float model, {@code [tokens, width]} per image. */
        private final List<float[]> tokens = new ArrayList<>();
        /** The same in the quantized model's basis. */
        private final List<float[]> mapped = new ArrayList<>();
        /** Tokens of the quantized model. */
        private final List<float[]> quantizedTokens = new ArrayList<>();

        private final int count;

        Measurement(VitModel a, VitModel b, Kernels kernels, int count) {
            this.a = a;
            this.b = b;
            this.kernels = kernels;
            this.count = count;
            units = a.geometry().units();
        }

        ModuleNoise run(CalibrationImages images) {
            List<float[]> patches = new ArrayList<>();
            List<float[]> quantizedPatches = new ArrayList<>();
            embed(a, images, patches, tokens);
            embed(b, images, quantizedPatches, quantizedTokens);
            StreamBasis basis = StreamBasis.between(a, b, tokens, quantizedTokens);
            if (basis.relation() == StreamBasis.Relation.UNRELATED) {
                return new ModuleNoise(List.of(), basis);
            }
            Sums sums = new Sums();
            Sums stream = new Sums();
            for (int i = 0; i < count; i++) {
                sums.add(basis.map(patches.get(i)), quantizedPatches.get(i));
                mapped.add(basis.map(tokens.get(i)));
                stream.add(mapped.get(i), quantizedTokens.get(i));
            }
            add("patch_embed", sums, stream.share(), List.of(VitNames.PATCH_EMBEDDING));
            for (int u = 0; u < units.size(); u++) {
                switch (units.get(u)) {
                    case ModelUnit.Embedding _ -> {} // compared above
                    case ModelUnit.Block block -> block(u, block, basis);
                    case ModelUnit.Merging merging -> merging(u, merging);
                    case ModelUnit.Head head -> head(u, head, basis);
                }
            }
            return new ModuleNoise(modules, basis);
        }

        private void embed(VitModel model, CalibrationImages images, List<float[]> patches, List<float[]> embedded) {
            LayerObserver keep = new LayerObserver() {
                @Override
                public void activation(String name, MemorySegment values, int n, int rows, int width) {
                    patches.add(values.asSlice(0, 4L * rows * width).toArray(JAVA_FLOAT));
                }
            };
            try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1, 0, 1);
                    ModelSession session = executor.openSession()) {
                MemorySegment input = session.allocateInput();
                MemorySegment buffer = session.allocateTokens();
                for (int i = 0; i < count; i++) {
                    images.load(i, input);
                    session.runUnit(0, input, 1, buffer, Optional.of(keep));
                    embedded.add(values(buffer, units.getFirst().output()));
                }
            }
        }

        private static float[] values(MemorySegment buffer, TokenShape shape) {
            return buffer.asSlice(0, 4 * shape.values()).toArray(JAVA_FLOAT);
        }

        private void block(int block, ModelUnit.Block unit, StreamBasis basis) {
            try (ModelExecutor first = ModelExecutor.compile(a, kernels, 1, block, block + 1);
                    ModelExecutor second = ModelExecutor.compile(b, kernels, 1, block, block + 1);
                    ModelSession sessionA = first.openSession();
                    ModelSession sessionB = second.openSession()) {
                MemorySegment buffer = sessionA.allocateTokens();
                for (boolean attention : new boolean[] {true, false}) {
                    Sums sums = new Sums();
                    Sums stream = new Sums();
                    Sums repaired = new Sums();
                    for (int i = 0; i < count; i++) {
                        float[] before = mapped.get(i);
                        float[] noisy = quantizedTokens.get(i);
                        tokens.set(i, after(sessionA, block, attention, tokens.get(i), buffer));
                        float[] expected = basis.map(tokens.get(i));
                        sums.add(before, expected, after(sessionB, block, attention, before, buffer));
                        mapped.set(i, expected);
                        float[] instead = after(sessionA, block, attention, basis.unmap(noisy), buffer);
                        repaired.add(expected, basis.map(instead));
                        quantizedTokens.set(i, after(sessionB, block, attention, noisy, buffer));
                        stream.add(expected, quantizedTokens.get(i));
                    }
                    double added = stream.share() - repaired.share();
                    if (attention) {
                        List<String> operators = List.of(unit.qkv(), unit.scores(), unit.mixing(), unit.projection());
                        add(unit.attention(), sums, added, operators);
                    } else {
                        add(unit.mlp(), sums, added, List.of(unit.hidden(), unit.mlpOutput()));
                    }
                }
            }
        }

        private static float[] after(
                ModelSession session, int block, boolean attention, float[] before, MemorySegment buffer) {
            MemorySegment.copy(before, 0, buffer, JAVA_FLOAT, 0, before.length);
            if (attention) {
                session.runAttention(block, buffer, 1);
            } else {
                session.runMlp(block, buffer, 1);
            }
            return buffer.asSlice(0, 4L * before.length).toArray(JAVA_FLOAT);
        }

        /** A merging replaces the stream. Only models whose stream is never rotated have one. */
        private void merging(int unit, ModelUnit.Merging merging) {
            Sums sums = new Sums();
            Sums stream = new Sums();
            Sums repaired = new Sums();
            List<float[]> expected = outputs(a, unit, tokens);
            List<float[]> actual = outputs(b, unit, mapped);
            List<float[]> noisy = outputs(b, unit, quantizedTokens);
            List<float[]> instead = outputs(a, unit, quantizedTokens);
            for (int i = 0; i < count; i++) {
                sums.add(expected.get(i), actual.get(i));
                stream.add(expected.get(i), noisy.get(i));
                repaired.add(expected.get(i), instead.get(i));
                tokens.set(i, expected.get(i));
                mapped.set(i, expected.get(i));
                quantizedTokens.set(i, noisy.get(i));
            }
            add(merging.name(), sums, stream.share() - repaired.share(), merging.operators());
        }

        private void head(int unit, ModelUnit.Head head, StreamBasis basis) {
            Sums sums = new Sums();
            Sums stream = new Sums();
            Sums repaired = new Sums();
            List<float[]> expected = outputs(a, unit, tokens);
            List<float[]> actual = outputs(b, unit, mapped);
            List<float[]> noisy = outputs(b, unit, quantizedTokens);
            List<float[]> instead =
                    outputs(a, unit, quantizedTokens.stream().map(basis::unmap).toList());
            for (int i = 0; i < count; i++) {
                sums.add(expected.get(i), actual.get(i));
                stream.add(expected.get(i), noisy.get(i));
                repaired.add(expected.get(i), instead.get(i));
            }
            add(head.name(), sums, stream.share() - repaired.share(), head.operators());
        }

        private List<float[]> outputs(VitModel model, int unit, List<float[]> inputs) {
            List<float[]> outputs = new ArrayList<>();
            try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1, unit, unit + 1);
                    ModelSession session = executor.openSession()) {
                MemorySegment buffer = session.allocateTokens();
                TokenShape shape = units.get(unit).output();
                MemorySegment output =
                        units.get(unit) instanceof ModelUnit.Head ? session.allocateLogits() : session.allocateTokens();
                for (float[] input : inputs) {
                    MemorySegment.copy(input, 0, buffer, JAVA_FLOAT, 0, input.length);
                    session.runUnit(unit, buffer, 1, output, Optional.empty());
                    outputs.add(values(output, shape));
                }
            }
            return outputs;
        }

        private void add(String module, Sums sums, double added, List<String> operators) {
            int weights = Float.SIZE;
            int activations = Float.SIZE;
            for (String operator : operators) {
                @Nullable MatmulQuantizers product = b.matmuls().get(operator);
                if (product != null) {
                    activations = Math.min(
                            activations,
                            Math.min(product.left().bits(), product.right().bits()));
                } else if (b.linears().get(operator) instanceof LinearLayer.Quantized q) {
                    weights = Math.min(weights, q.bits());
                    activations = Math.min(activations, q.input().bits());
                }
            }
            modules.add(new Module(module, Evaluation.sqnrDb(sums.signal, sums.noise), added, weights, activations));
        }
    }

    private static final class Sums {
        private double signal;
        private double noise;

        void add(float[] expected, float[] actual) {
            add(new float[expected.length], expected, actual);
        }

        double share() {
            return noise == 0 ? 0 : noise / signal;
        }

        /** @param before what is subtracted from both */
        void add(float[] before, float[] expected, float[] actual) {
            for (int i = 0; i < expected.length; i++) {
                double s = (double) expected[i] - before[i];
                double d = (double) expected[i] - actual[i];
                signal += s * s;
                noise += d * d;
            }
        }
    }
}
