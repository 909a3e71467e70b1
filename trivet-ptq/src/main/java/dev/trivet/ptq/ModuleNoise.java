package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.runtime.Evaluation;
import dev.trivet.runtime.LayerObserver;
import dev.trivet.runtime.VitExecutor;
import dev.trivet.runtime.VitSession;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;

/**
 * Which modules of a quantized model do the damage: each gets the input that the float model's module gets, and what it makes
 * of it is held against the float module's, {@code 10 log10(sum a^2 / sum (a - b)^2)}. Noise of earlier modules is not in
 * the figure, so it says where more bits would help.
 *
 * <p>Compared are the patch embedding, what attention and MLP add to the residual stream, and the logits, because these are
 * what a rewritten model keeps: LayerNorm scales may have moved into the layers after them, heads may stand in another basis, and the whole
 * stream may be rotated ({@link StreamBasis}), so inputs of single layers have no counterpart in the float model.
 *
 * @param modules in execution order; empty if the streams are unrelated
 * @param basis how the two streams are related
 */
public record ModuleNoise(List<Module> modules, StreamBasis basis) {

    public ModuleNoise {
        modules = List.copyOf(modules);
    }

    /**
     * @param module {@code patch_embed}, {@code blocks.N.attn}, {@code blocks.N.mlp} or {@code head}
     * @param sqnrDb infinite where nothing differs
     * @param weightBits fewest bits of a weight in it; 32 is float
     * @param activationBits fewest bits of an operand in it; 32 is float
     */
    public record Module(String module, double sqnrDb, int weightBits, int activationBits) {}

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
        private final VitConfig config;
        private final List<Module> modules = new ArrayList<>();
        /** Tokens of the float model, {@code [tokens, width]} per image. */
        private final List<float[]> tokens = new ArrayList<>();
        /** The same as the quantized model has them. */
        private final List<float[]> mapped = new ArrayList<>();

        private final int count;

        Measurement(VitModel a, VitModel b, Kernels kernels, int count) {
            this.a = a;
            this.b = b;
            this.kernels = kernels;
            this.count = count;
            config = a.vit();
        }

        ModuleNoise run(CalibrationImages images) {
            List<float[]> patches = new ArrayList<>();
            List<float[]> quantizedPatches = new ArrayList<>();
            List<float[]> quantizedTokens = new ArrayList<>();
            embed(a, images, patches, tokens);
            embed(b, images, quantizedPatches, quantizedTokens);
            StreamBasis basis = StreamBasis.between(a, b, tokens, quantizedTokens);
            if (basis.relation() == StreamBasis.Relation.UNRELATED) {
                return new ModuleNoise(List.of(), basis);
            }
            Sums sums = new Sums();
            for (int i = 0; i < count; i++) {
                sums.add(basis.map(patches.get(i)), quantizedPatches.get(i));
                mapped.add(basis.map(tokens.get(i)));
            }
            add("patch_embed", sums, List.of(VitNames.PATCH_EMBEDDING));
            for (int block = 0; block < config.depth(); block++) {
                block(block, basis);
            }
            head();
            return new ModuleNoise(modules, basis);
        }

        private void embed(VitModel model, CalibrationImages images, List<float[]> patches, List<float[]> embedded) {
            LayerObserver keep = new LayerObserver() {
                @Override
                public void activation(String name, MemorySegment values, int n, int rows, int width) {
                    patches.add(values.asSlice(0, 4L * rows * width).toArray(JAVA_FLOAT));
                }
            };
            try (VitExecutor executor = new VitExecutor(model, kernels, 1, VitExecutor.Part.ofEmbedding());
                    VitSession session = executor.openSession()) {
                MemorySegment input = session.allocateInput();
                MemorySegment buffer = session.allocateTokens();
                for (int i = 0; i < count; i++) {
                    images.load(i, input);
                    session.runEmbedding(input, 1, buffer, Optional.of(keep));
                    embedded.add(buffer.toArray(JAVA_FLOAT));
                }
            }
        }

        private void block(int block, StreamBasis basis) {
            VitExecutor.Part part = VitExecutor.Part.ofBlock(block);
            try (VitExecutor first = new VitExecutor(a, kernels, 1, part);
                    VitExecutor second = new VitExecutor(b, kernels, 1, part);
                    VitSession sessionA = first.openSession();
                    VitSession sessionB = second.openSession()) {
                MemorySegment buffer = sessionA.allocateTokens();
                for (boolean attention : new boolean[] {true, false}) {
                    Sums sums = new Sums();
                    for (int i = 0; i < count; i++) {
                        float[] before = mapped.get(i);
                        tokens.set(i, after(sessionA, block, attention, tokens.get(i), buffer));
                        float[] expected = basis.map(tokens.get(i));
                        sums.add(before, expected, after(sessionB, block, attention, before, buffer));
                        mapped.set(i, expected);
                    }
                    if (attention) {
                        List<String> operators = List.of(
                                VitNames.qkv(block),
                                VitNames.scores(block),
                                VitNames.mixing(block),
                                VitNames.projection(block));
                        add(VitNames.block(block) + ".attn", sums, operators);
                    } else {
                        List<String> operators = List.of(VitNames.hidden(block), VitNames.output(block));
                        add(VitNames.block(block) + ".mlp", sums, operators);
                    }
                }
            }
        }

        private static float[] after(
                VitSession session, int block, boolean attention, float[] before, MemorySegment buffer) {
            MemorySegment.copy(before, 0, buffer, JAVA_FLOAT, 0, before.length);
            if (attention) {
                session.runAttention(block, buffer, 1);
            } else {
                session.runMlp(block, buffer, 1);
            }
            return buffer.toArray(JAVA_FLOAT);
        }

        private void head() {
            Sums sums = new Sums();
            List<float[]> expected = logits(a, tokens);
            List<float[]> actual = logits(b, mapped);
            IntStream.range(0, count).forEach(i -> sums.add(expected.get(i), actual.get(i)));
            add(
                    "head",
                    sums,
                    config.distilled() ? List.of(VitNames.HEAD, VitNames.DISTILLATION_HEAD) : List.of(VitNames.HEAD));
        }

        private List<float[]> logits(VitModel model, List<float[]> inputs) {
            List<float[]> logits = new ArrayList<>();
            try (VitExecutor executor = new VitExecutor(model, kernels, 1, VitExecutor.Part.ofHead(config));
                    VitSession session = executor.openSession()) {
                MemorySegment buffer = session.allocateTokens();
                MemorySegment output = session.allocateLogits();
                for (float[] input : inputs) {
                    MemorySegment.copy(input, 0, buffer, JAVA_FLOAT, 0, input.length);
                    session.runHead(buffer, 1, output, Optional.empty());
                    logits.add(output.toArray(JAVA_FLOAT));
                }
            }
            return logits;
        }

        private void add(String module, Sums sums, List<String> operators) {
            int weights = Float.SIZE;
            int activations = Float.SIZE;
            for (String operator : operators) {
                if (b.matmuls().get(operator) instanceof dev.trivet.model.MatmulQuantizers q) {
                    activations = Math.min(
                            activations, Math.min(q.left().bits(), q.right().bits()));
                } else if (b.linears().get(operator) instanceof LinearLayer.Quantized q) {
                    weights = Math.min(weights, q.bits());
                    activations = Math.min(activations, q.input().bits());
                }
            }
            modules.add(new Module(module, Evaluation.sqnrDb(sums.signal, sums.noise), weights, activations));
        }
    }

    private static final class Sums {
        private double signal;
        private double noise;

        void add(float[] expected, float[] actual) {
            add(new float[expected.length], expected, actual);
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
