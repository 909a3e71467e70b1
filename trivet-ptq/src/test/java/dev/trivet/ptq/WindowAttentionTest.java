package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.Interpolation;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.MatmulQuantizers;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.SwinNames;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitTensors;
import dev.trivet.model.WindowPadding;
import dev.trivet.quant.ActivationQuantizer;
import dev.trivet.runtime.AttentionLayout;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.SingularValueDecomposition_F64;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What calibration makes of windows, against a dense attention over the whole map that knows rows and columns and no windows. */
class WindowAttentionTest {
    private static final Kernels KERNELS = new ReferenceKernels();
    private static final int WIDTH = 4;
    private static final int HEADS = 2;
    private static final int WINDOW = 2;

    /** A map of {@code side x side} pixels, each a token; a block of plain windows and one of shifted. */
    private static VitModel model(int side) {
        SwinConfig geometry = new SwinConfig(
                side,
                1,
                1,
                WIDTH,
                List.of(2),
                List.of(HEADS),
                WINDOW,
                1,
                3,
                true,
                false,
                WindowPadding.AFTER_SHIFT,
                1e-5f);
        ModelConfig config = new ModelConfig(
                "windows",
                geometry,
                new Preprocessing(side, 1, Interpolation.BICUBIC, List.of(0f), List.of(1f)),
                List.of());
        Random random = new Random(5);
        Map<String, LinearLayer> linears = new LinkedHashMap<>();
        for (VitTensors.Linear spec : VitTensors.of(geometry).linears()) {
            linears.put(
                    spec.name(),
                    new LinearLayer.Float32(
                            spec.name(),
                            spec.outputs(),
                            spec.inputs(),
                            noise(random, spec.outputs() * spec.inputs()),
                            noise(random, spec.outputs())));
        }
        Map<String, float[]> floats = new LinkedHashMap<>();
        VitTensors.of(geometry)
                .floats()
                .forEach((name, shape) -> floats.put(
                        name, noise(random, Math.toIntExact(shape.stream().reduce(1L, Math::multiplyExact)))));
        return new VitModel(config, linears, Map.of(), floats);
    }

    private static float[] noise(Random random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    // ---- the model in plain double arithmetic

    private static double[][] times(double[][] x, VitModel model, String name) {
        LinearLayer.Float32 layer = (LinearLayer.Float32) model.linear(name);
        double[][] y = new double[x.length][layer.outputs()];
        for (int t = 0; t < x.length; t++) {
            for (int n = 0; n < layer.outputs(); n++) {
                y[t][n] = layer.bias()[n];
                for (int k = 0; k < layer.inputs(); k++) {
                    y[t][n] += x[t][k] * layer.weight()[n * layer.inputs() + k];
                }
            }
        }
        return y;
    }

    private static double[][] norm(double[][] x, VitModel model, String name) {
        double[][] y = new double[x.length][];
        for (int t = 0; t < x.length; t++) {
            double mean = java.util.Arrays.stream(x[t]).average().orElseThrow();
            double square = java.util.Arrays.stream(x[t])
                            .map(v -> (v - mean) * (v - mean))
                            .sum()
                    / x[t].length;
            y[t] = new double[x[t].length];
            for (int c = 0; c < x[t].length; c++) {
                y[t][c] = (x[t][c] - mean) / Math.sqrt(square + 1e-5) * model.floats(name + ".weight")[c]
                        + model.floats(name + ".bias")[c];
            }
        }
        return y;
    }

    /** Whether two tokens see each other: in one window, and neighbours on the map itself, not only on the rolled one. */
    private static boolean together(int side, int shift, int a, int b) {
        int rows = Math.abs(a / side - b / side);
        int columns = Math.abs(a % side - b % side);
        return window(side, shift, a / side) == window(side, shift, b / side)
                && window(side, shift, a % side) == window(side, shift, b % side)
                && rows < WINDOW
                && columns < WINDOW;
    }

    private static int window(int side, int shift, int position) {
        return (position + side - shift) % side / WINDOW;
    }

    /** Maps {@code [heads][tokens][tokens]} of a block's attention over all tokens, zero where tokens do not see each other. */
    private static double[][][] maps(double[][] qkv, VitModel model, int side, int block) {
        float[] table = model.floats(SwinNames.relativePositions("layers.0.blocks." + block));
        int tokens = side * side;
        int headWidth = WIDTH / HEADS;
        double[][][] maps = new double[HEADS][tokens][tokens];
        for (int h = 0; h < HEADS; h++) {
            for (int i = 0; i < tokens; i++) {
                double sum = 0;
                for (int j = 0; j < tokens; j++) {
                    if (together(side, block, i, j)) {
                        double score = 0;
                        for (int c = 0; c < headWidth; c++) {
                            score += qkv[i][h * headWidth + c] * qkv[j][WIDTH + h * headWidth + c];
                        }
                        int offset = (i / side - j / side + WINDOW - 1) * (2 * WINDOW - 1)
                                + (i % side - j % side + WINDOW - 1);
                        maps[h][i][j] = Math.exp(score / Math.sqrt(headWidth) + table[offset * HEADS + h]);
                        sum += maps[h][i][j];
                    }
                }
                for (int j = 0; j < tokens; j++) {
                    maps[h][i][j] /= sum;
                }
            }
        }
        return maps;
    }

    private static double gelu(double x) {
        // The error function by its series, good for the few units that occur here.
        double z = x / Math.sqrt(2);
        double term = z;
        double sum = z;
        for (int n = 1; n < 400; n++) {
            term *= -z * z / n;
            sum += term / (2 * n + 1);
        }
        double erf = Math.abs(z) > 5 ? Math.signum(z) : 2 / Math.sqrt(Math.PI) * sum;
        return x / 2 * (1 + erf);
    }

    /** Maps of both blocks for one image. */
    private static List<double[][][]> maps(VitModel model, CalibrationImages images, int image, int side) {
        double[][] x = new double[side * side][1];
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment input = arena.allocate(4L * side * side, 64);
            images.load(image, input);
            for (int t = 0; t < x.length; t++) {
                x[t][0] = input.getAtIndex(JAVA_FLOAT, t);
            }
        }
        x = norm(times(x, model, "patch_embed.proj"), model, "patch_embed.norm");
        List<double[][][]> all = new ArrayList<>();
        for (int b = 0; b < 2; b++) {
            String name = "layers.0.blocks." + b;
            double[][] qkv = times(norm(x, model, name + ".norm1"), model, name + ".attn.qkv");
            double[][][] maps = maps(qkv, model, side, b);
            all.add(maps);
            double[][] mixed = new double[x.length][WIDTH];
            for (int i = 0; i < x.length; i++) {
                for (int c = 0; c < WIDTH; c++) {
                    for (int j = 0; j < x.length; j++) {
                        mixed[i][c] += maps[c / (WIDTH / HEADS)][i][j] * qkv[j][2 * WIDTH + c];
                    }
                }
            }
            add(x, times(mixed, model, name + ".attn.proj"));
            double[][] hidden = times(norm(x, model, name + ".norm2"), model, name + ".mlp.fc1");
            for (double[] row : hidden) {
                for (int c = 0; c < row.length; c++) {
                    row[c] = gelu(row[c]);
                }
            }
            add(x, times(hidden, model, name + ".mlp.fc2"));
        }
        return all;
    }

    private static void add(double[][] x, double[][] y) {
        for (int t = 0; t < x.length; t++) {
            for (int c = 0; c < x[t].length; c++) {
                x[t][c] += y[t][c];
            }
        }
    }

    private static double nuclearNorm(double[][] matrix) {
        DMatrixRMaj m = new DMatrixRMaj(matrix);
        SingularValueDecomposition_F64<DMatrixRMaj> svd =
                DecompositionFactory_DDRM.svd(m.numRows, m.numCols, false, false, false);
        assertThat(svd.decompose(m)).isTrue();
        return java.util.Arrays.stream(svd.getSingularValues()).sum();
    }

    // ---- sensitivity

    private static final float STEP = 1f / 16;

    /** Quantizes the attention maps alone. */
    private static UnitSearch coarse(QuantizationPlan plan, boolean normalized) {
        return new UnitSearch() {
            @Override
            public void quantize(SearchUnit unit, SearchState state) {
                ModelUnit.Block block = (ModelUnit.Block) unit.unit();
                if (!plan.operator(block.mixing()).isFloat()) {
                    state.put(
                            block.mixing(),
                            new MatmulQuantizers(
                                    new ActivationQuantizer(STEP, 0, 0, 16),
                                    new ActivationQuantizer(0.25f, 0, -8, 7),
                                    normalized));
                }
            }

            @Override
            public long memoryBound(Geometry geometry) {
                return 0;
            }
        };
    }

    private static double squaredError(double[][] map, boolean normalized) {
        double error = 0;
        for (double[] row : map) {
            double most = normalized ? java.util.Arrays.stream(row).max().orElseThrow() : 1;
            double[] quantized = new double[row.length];
            double sum = 0;
            for (int j = 0; j < row.length; j++) {
                quantized[j] = STEP * Math.rint(row[j] / most / STEP);
                sum += quantized[j];
            }
            for (int j = 0; j < row.length; j++) {
                double d = row[j] - quantized[j] / (normalized ? sum : 1);
                error += d * d;
            }
        }
        return error;
    }

    /** Eq. (18) with one block-diagonal map per head; a shifted window's masked pairs are zeros in it. */
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void sensitivityIsThatOfTheBlockDiagonalMap(boolean normalized) {
        int side = 4;
        int count = 3;
        VitModel model = model(side);
        CalibrationImages images = new Fixtures.Noise(model.geometry(), count, 8);
        QuantizationPlan plan = QuantizationPlan.uniform(model.geometry(), 8, 8, 8);
        ModuleSensitivity found = ModuleSensitivity.measure(
                model,
                KERNELS,
                images,
                asked -> coarse(asked, normalized),
                plan,
                new int[] {4},
                count,
                2,
                SearchListener.SILENT);
        assertThat(found.modules())
                .extracting(ModuleSensitivity.Module::name)
                .containsExactly(
                        "layers.0.blocks.0.attn",
                        "layers.0.blocks.0.mlp",
                        "layers.0.blocks.1.attn",
                        "layers.0.blocks.1.mlp");
        for (int block = 0; block < 2; block++) {
            double expected = 0;
            for (int image = 0; image < count; image++) {
                double norm = 0;
                double error = 0;
                for (double[][] map : maps(model, images, image, side).get(block)) {
                    norm += nuclearNorm(map);
                    error += squaredError(map, normalized);
                }
                expected += norm * error / count;
            }
            double omega = found.modules().get(2 * block).widths().getFirst().mapOmega();
            assertThat(omega).as("block %d", block).isCloseTo(expected, within(1e-4 * expected));
        }
    }

    // ---- ranking and correlation

    private static AttentionLayout layout(VitModel model, int block, Arena arena) {
        return AttentionLayout.of(
                model, (ModelUnit.Block) model.geometry().units().get(1 + block), 1, arena);
    }

    /** All pairs that see each other, as eq. (13) asks; ties and pairs that the mask decides cost what they cost anyhow. */
    @Test
    void scoresAreRankedWithTheirBiasesAndWithoutWhatIsMasked() {
        VitModel model = model(4);
        try (Arena arena = Arena.ofConfined();
                SearchScratch scratch = new SearchScratch(KERNELS)) {
            AttentionLayout layout = layout(model, 1, arena);
            int n = WINDOW * WINDOW;
            RankingLoss loss = new RankingLoss(n, 0, RankReduction.SUM);
            AttentionRanking ranking = new AttentionRanking(loss, layout, KERNELS);
            Random random = new Random(3);
            float scale = (float) (1 / Math.sqrt(WIDTH / HEADS));
            MemorySegment scores = arena.allocateFrom(JAVA_FLOAT, noise(random, layout.mapElements()));
            MemorySegment sums = arena.allocate(4L * layout.mapElements(), 64);
            for (int i = 0; i < layout.mapElements(); i++) {
                sums.setAtIndex(JAVA_INT, i, (int) (10 * scores.getAtIndex(JAVA_FLOAT, i)) + random.nextInt(-9, 10));
            }
            int[] tokens = layout.unit().windows().orElseThrow().tokens();
            double expected = 0;
            for (int p = 0; p < layout.products(); p++) {
                int group = p / HEADS;
                for (int k = 0; k < n; k++) {
                    for (int i = 0; i < n; i++) {
                        for (int j = i + 1; j < n; j++) {
                            boolean first = together(4, 1, tokens[group * n + k], tokens[group * n + i]);
                            boolean second = together(4, 1, tokens[group * n + k], tokens[group * n + j]);
                            if (first && second) {
                                long row = ((long) p * n + k) * n;
                                double bias = layout.relative(p % HEADS, k, i) - layout.relative(p % HEADS, k, j);
                                double order = (scores.getAtIndex(JAVA_FLOAT, row + i)
                                                        - scores.getAtIndex(JAVA_FLOAT, row + j))
                                                * scale
                                        + bias;
                                double margin =
                                        (sums.getAtIndex(JAVA_INT, row + i) - sums.getAtIndex(JAVA_INT, row + j))
                                                        * 0.1f
                                                        * scale
                                                + bias;
                                expected += Math.max(RankingLoss.THETA - margin * Math.signum(order), 0);
                            } else if (!first && !second) {
                                expected += RankingLoss.THETA;
                            }
                        }
                    }
                }
            }
            ranking.referenceMap(scratch, scores);
            assertThat(ranking.penaltyOfMap(scratch, sums, 0.1f))
                    .isCloseTo(AttentionRanking.GAMMA * expected, within(1e-4 * expected));
            MemorySegment spoilt = arena.allocate(4L * layout.mapElements(), 64).copyFrom(sums);
            for (int p = 0; p < layout.products(); p++) {
                for (int k = 0; k < n * n; k++) {
                    if (layout.isMasked(p / HEADS, k / n, k % n)) {
                        spoilt.setAtIndex(JAVA_INT, (long) p * n * n + k, random.nextInt(-10_000, 10_000));
                    }
                }
            }
            assertThat(ranking.penaltyOfMap(scratch, spoilt, 0.1f))
                    .isEqualTo(ranking.penaltyOfMap(scratch, sums, 0.1f));
        }
    }

    /** Pearson's r of each window by its textbook definition over what counts, averaged. A map of 5 x 5 is padded. */
    @ParameterizedTest
    @CsvSource({"4, 0, true", "4, 1, true", "5, 0, true", "5, 1, true", "5, 1, false", "5, 0, false"})
    void correlationIsTakenPerWindowOverWhatTheModelLooksAt(int side, int block, boolean map) {
        VitModel model = model(side);
        try (Arena arena = Arena.ofConfined();
                SearchScratch scratch = new SearchScratch(KERNELS)) {
            AttentionLayout layout = layout(model, block, arena);
            int n = WINDOW * WINDOW;
            int columns = map ? n : WIDTH / HEADS;
            int count = layout.products() * n * columns;
            Random random = new Random(7);
            MemorySegment output = arena.allocateFrom(JAVA_FLOAT, noise(random, count));
            MemorySegment sums = arena.allocate(4L * count, 64);
            for (int i = 0; i < count; i++) {
                sums.setAtIndex(JAVA_INT, i, (int) (20 * output.getAtIndex(JAVA_FLOAT, i)) + random.nextInt(-5, 6));
            }
            int[] tokens = layout.unit().windows().orElseThrow().tokens();
            double expected = 0;
            int dropped = 0;
            for (int group = 0; group < layout.unit().groups(); group++) {
                List<Double> wanted = new ArrayList<>();
                List<Double> found = new ArrayList<>();
                for (int row = 0; row < HEADS * n; row++) {
                    int query = tokens[group * n + row % n];
                    for (int c = 0; c < columns; c++) {
                        boolean counts = query >= 0 && (!map || sees(layout, side, block, group, row % n, c));
                        long i = ((long) group * HEADS * n + row) * columns + c;
                        if (counts) {
                            wanted.add((double) output.getAtIndex(JAVA_FLOAT, i));
                            found.add((double) sums.getAtIndex(JAVA_INT, i));
                        } else {
                            dropped++;
                            // Whatever stands there is of no account.
                            sums.setAtIndex(JAVA_INT, i, 1_000_000);
                        }
                    }
                }
                expected += Fixtures.pearson(doubles(wanted), doubles(found))
                        / layout.unit().groups();
            }
            assertThat(dropped > 0).isEqualTo(side == 5 || block == 1);
            ProductCorrelation correlation = new ProductCorrelation(layout, map);
            correlation.setOutput(scratch, output);
            assertThat(correlation.mean(scratch, output, sums, 0.05f)).isCloseTo(expected, within(1e-6));
        }
    }

    /** On a padded map the masks of the published code are taken as they are; {@code WindowPartitionTest} has them. */
    private static boolean sees(AttentionLayout layout, int side, int block, int group, int query, int key) {
        int[] tokens = layout.unit().windows().orElseThrow().tokens();
        int n = WINDOW * WINDOW;
        return side == 4
                ? together(side, block, tokens[group * n + query], tokens[group * n + key])
                : !layout.isMasked(group, query, key);
    }

    private static double[] doubles(List<Double> values) {
        return values.stream().mapToDouble(Double::doubleValue).toArray();
    }
}
