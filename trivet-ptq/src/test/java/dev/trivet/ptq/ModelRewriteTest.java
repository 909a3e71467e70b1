package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Rewrites that come before quantization leave what the float model says as it was. */
class ModelRewriteTest {
    private static final List<String> MODELS = List.of("vit_micro", "deit_distilled_micro", "vit_gap_micro");

    private static void sameLogits(VitModel model, VitModel rewritten) {
        CalibrationImages images = new Fixtures.Noise(model.geometry(), 3, 77);
        assertThat(Logits.of(rewritten, images)).containsExactly(Logits.of(model, images), within(1e-4f));
    }

    // ---- residual stream

    @ParameterizedTest
    @CsvSource({"1, 0", "2, 1", "3, 2", "5, 3", "64, 4", "192, 5"})
    void theRotationIsOrthogonalAndKeepsTheOnes(int width, long seed) {
        double[] r = ResidualRotation.matrix(width, seed);
        for (int i = 0; i < width; i++) {
            double row = 0;
            double column = 0;
            for (int j = 0; j < width; j++) {
                double dot = 0;
                for (int k = 0; k < width; k++) {
                    dot += r[i * width + k] * r[j * width + k];
                }
                assertThat(dot).isCloseTo(i == j ? 1 : 0, within(1e-10));
                row += r[i * width + j];
                column += r[j * width + i];
            }
            assertThat(row).isCloseTo(1, within(1e-10));
            assertThat(column).isCloseTo(1, within(1e-10));
        }
    }

    @Test
    void theSeedDrawsTheRotation() {
        assertThat(ResidualRotation.matrix(8, 1)).isEqualTo(ResidualRotation.matrix(8, 1));
        assertThat(ResidualRotation.matrix(8, 1)).isNotEqualTo(ResidualRotation.matrix(8, 2));
    }

    @ParameterizedTest
    @CsvSource({"vit_micro, 0", "vit_micro, 1", "deit_distilled_micro, 0", "vit_gap_micro, 0"})
    void aRotatedModelSaysTheSame(String name, long seed) {
        VitModel model = Fixtures.micro(name);
        VitModel rotated = ResidualRotation.apply(model, seed);
        sameLogits(model, rotated);
        assertThat(((LinearLayer.Float32) rotated.linear("head")).weight())
                .isNotEqualTo(((LinearLayer.Float32) model.linear("head")).weight());
        for (String norm : List.of("blocks.0.norm1", "blocks.1.norm2", VitNames.finalNorm(model.vit()))) {
            assertThat(rotated.floats(norm + ".weight")).containsOnly(1);
            assertThat(rotated.floats(norm + ".bias")).containsOnly(0);
        }
    }

    // ---- heads

    /** Brings a search to a block and lets it be rewritten. */
    private static VitModel rewritten(VitModel model, int block, int imageCount, int threads, boolean attention) {
        CalibrationImages images = new Fixtures.Noise(model.geometry(), imageCount, 1);
        List<SearchUnit> units = SearchUnit.of(model.geometry());
        TrivetSearch method = new TrivetSearch(
                QuantizationPlan.uniform(model.geometry(), 4, 4, 8),
                TrivetSettings.defaults(0, threads),
                new TokenGains(model, threads),
                choice -> {});
        SearchProgress progress = new SearchProgress(SearchListener.SILENT, units, 0, images.size(), method);
        try (SearchState state = new SearchState(model, model, new VectorKernels(), images, threads, progress)) {
            SearchUnit unit = units.stream()
                    .filter(u -> u.unit() instanceof ModelUnit.Block)
                    .toList()
                    .get(block);
            ModelUnit.Block heads = (ModelUnit.Block) unit.unit();
            for (SearchUnit before : units.subList(0, unit.index())) {
                progress.unit(before.index());
                state.advance(before);
            }
            if (attention) {
                AttentionStage stage = new AttentionStage(
                        state, heads, 4, 4, true, Fixtures.ones(heads.shape().tokens()));
                state.withWorkers(unit, workers -> TrivetSearch.rewrite(heads, state, stage.rewrite(workers)));
            } else {
                state.withWorkers(unit, workers -> HeadMoments.rewrite(state, heads, workers));
            }
            return state.current();
        }
    }

    @ParameterizedTest
    @CsvSource({
        "vit_micro, 0, 4, false",
        "vit_micro, 2, 4, true",
        "vit_micro, 1, 1, false",
        "vit_micro, 1, 1, true",
        "deit_distilled_micro, 1, 4, false",
        "deit_distilled_micro, 0, 4, true",
        "vit_gap_micro, 0, 4, false",
        "vit_gap_micro, 1, 4, true",
        "swin_micro, 1, 4, false",
        "swin_micro, 1, 4, true",
        "swin_micro, 3, 2, false",
        "swin_micro, 2, 2, true",
        "swin_micro_window4, 1, 4, false",
        "swin_micro_window4, 1, 4, true",
        "swin_padded_micro, 1, 3, false",
        "swin_padded_micro, 1, 3, true"
    })
    void rewrittenHeadsSayTheSame(String name, int block, int images, boolean attention) {
        VitModel model = Fixtures.micro(name);
        VitModel rewritten = rewritten(model, block, images, 2, attention);
        sameLogits(model, rewritten);
        String qkv = model.geometry().units().stream()
                .filter(ModelUnit.Block.class::isInstance)
                .map(unit -> ((ModelUnit.Block) unit).qkv())
                .toList()
                .get(block);
        assertThat(((LinearLayer.Float32) rewritten.linear(qkv)).weight())
                .isNotEqualTo(((LinearLayer.Float32) model.linear(qkv)).weight());
        VitModel again = rewritten(model, block, images, 1, attention);
        assertThat(((LinearLayer.Float32) again.linear(qkv)).weight())
                .as("one thread does as two do")
                .isEqualTo(((LinearLayer.Float32) rewritten.linear(qkv)).weight());
    }

    /** A head whose keys never change, and a value channel that is always zero. */
    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void constantChannelsSayTheSame(boolean attention) {
        for (String name : MODELS) {
            VitModel model = withConstantChannels(Fixtures.micro(name), 0);
            sameLogits(model, rewritten(model, 0, 3, 2, attention));
        }
    }

    /** The keys of the first head are their bias, its first value channel and its second query channel are zero. */
    static VitModel withConstantChannels(VitModel model, int block) {
        LinearLayer.Float32 qkv = (LinearLayer.Float32) model.linear(VitNames.qkv(block));
        int width = qkv.inputs();
        float[] weight = qkv.weight().clone();
        float[] bias = qkv.bias().clone();
        java.util.Arrays.fill(weight, width * width, (width + model.vit().headWidth()) * width, 0f);
        for (int n : new int[] {1, 2 * width}) {
            java.util.Arrays.fill(weight, n * width, (n + 1) * width, 0f);
            bias[n] = 0;
        }
        Map<String, LinearLayer> linears = new LinkedHashMap<>(model.linears());
        linears.put(qkv.name(), new LinearLayer.Float32(qkv.name(), qkv.outputs(), width, weight, bias));
        return new VitModel(model.config(), linears, model.matmuls(), model.floats());
    }

    // ---- fold

    /** By hand: y = 3 * 5 - 2 * 7 + 1 = 2; x' = ((5 - 1) / 2, (7 + 1) / 4), W' = (6, -8), b' = 1 + 3 * 1 - 2 * -1. */
    @Test
    void aFoldChangesVariables() {
        ChannelFold fold = new ChannelFold(new float[] {1, -1}, new float[] {2, 4});
        assertThat(fold.apply(5, 0)).isEqualTo(2);
        assertThat(fold.apply(7, 1)).isEqualTo(2);
        assertThat(6 * fold.apply(5, 0) - 8 * fold.apply(7, 1) + 6).isEqualTo(2);
        assertThat(fold.isIdentity()).isFalse();
        ChannelFold identity = ChannelFold.identity(2);
        assertThat(identity.isIdentity()).isTrue();
        assertThat(identity.apply(-3.25f, 1)).isEqualTo(-3.25f);
        assertThat(new ChannelFold(new float[] {0, 1}, new float[] {1, 1}).isIdentity())
                .isFalse();
        assertThat(new ChannelFold(new float[] {0, 0}, new float[] {1, 2}).isIdentity())
                .isFalse();
    }
}
