package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.model.Geometry;
import dev.trivet.model.Pooling;
import dev.trivet.model.VitConfig;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class FeaturesTest {
    private static final VitConfig VIT =
            new VitConfig(8, 4, 1, 8, 2, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);

    private static Tensor rows(int size, float... values) {
        Tensor tensor = zeros(values.length);
        Torch.floats(tensor).put(values);
        return tensor.view(1, 1, values.length / size, size);
    }

    private static List<Geometry> geometries() {
        return List.of(VIT, ModelProbe.SMALL_SWIN);
    }

    /** KL((1/4, 3/4) || (3/4, 1/4)) = ln(3) / 2 in one of two rows of the first block; nothing in the second, zeros included. */
    @Test
    void attentionIsComparedRowByRow() {
        try (PointerScope _ = new PointerScope()) {
            Tensor other = rows(2, 1, 0, 0.5f, 0.5f);
            Features own = new Features(List.of(rows(2, 0.75f, 0.25f, 0.5f, 0.5f), other), List.of());
            Features teacher = new Features(List.of(rows(2, 0.25f, 0.75f, 0.5f, 0.5f), other), List.of());
            assertThat(own.attentionLoss(teacher).item_double()).isCloseTo(Math.log(3) / 2 / 2 / 2, within(1e-5));
        }
    }

    /** (1 + 4) / (9 + 16) in the first block and 100 / 100 in the second. */
    @Test
    void streamsAreComparedInSharesOfTheTeachers() {
        try (PointerScope _ = new PointerScope()) {
            Features own = new Features(List.of(), List.of(rows(2, 4, 2), rows(2, 0, 0)));
            Features teacher = new Features(List.of(), List.of(rows(2, 3, 4), rows(2, 10, 0)));
            assertThat(own.streamLoss(teacher).item_double()).isCloseTo((5.0 / 25 + 1) / 2, within(1e-6));
        }
    }

    /** Recording changes nothing but, in float32, the last bits of attention, and is over when it was taken. */
    @ParameterizedTest
    @MethodSource("geometries")
    void recordsWhatBlocksComputeWhereAskedTo(Geometry geometry) {
        Random random = new Random(1);
        PatchGrid grid = PatchGrid.of(geometry);
        Features.Recording recording = new Features.Recording(Arithmetic.FLOAT);
        try (PointerScope _ = new PointerScope();
                TrainableModel model = TrainableModel.of(geometry, recording, 5)) {
            ModelProbe.disturb(model, random);
            Tensor images = ModelProbe.patches(ModelProbe.noise(2 * grid.imageLength(), random), grid);
            FloatBuffer plain = Torch.floats(model.forward(images, Optional.empty()));
            assertThat(recording.take().streams()).isEmpty();
            recording.start();
            FloatBuffer recorded = Torch.floats(model.forward(images, Optional.empty()));
            for (int i = 0; i < plain.capacity(); i++) {
                assertThat(recorded.get(i))
                        .isCloseTo(plain.get(i), within(1e-4f * Math.max(1, Math.abs(plain.get(i)))));
            }
            Features features = recording.take();
            int blocks = geometry instanceof VitConfig ? 2 : 3;
            assertThat(features.attention()).hasSize(blocks);
            assertThat(features.streams()).hasSize(blocks);
            for (Tensor weights : features.attention()) {
                FloatBuffer sums = Torch.floats(weights.sum(-1).contiguous());
                for (int i = 0; i < sums.capacity(); i++) {
                    assertThat(sums.get(i)).isCloseTo(1, within(1e-5f));
                }
            }
            assertThat(features.attentionLoss(features).item_double()).isZero();
            assertThat(features.streamLoss(features).item_double()).isZero();
            Tensor ignored = model.forward(images, Optional.empty());
            assertThat(recording.take().attention()).isEmpty();
        }
    }
}
