package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.trivet.BadInputException;
import dev.trivet.model.Geometry;
import dev.trivet.model.Interpolation;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import dev.trivet.quant.TernaryWeights;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class DeviceTest {
    private static final VitConfig VIT =
            new VitConfig(8, 4, 1, 8, 2, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);
    private static final Preprocessing PREPROCESSING =
            new Preprocessing(8, 8, Interpolation.BICUBIC, List.of(0.4f), List.of(0.2f));

    private static List<Geometry> geometries() {
        return List.of(VIT, ModelProbe.SMALL_SWIN);
    }

    @BeforeAll
    static void load() {
        Torch.load();
    }

    @Test
    void choosesWhatIsThere() {
        boolean cuda = torch.cuda_is_available();
        assertThat(Device.CPU.inUse()).isEqualTo(Device.CPU);
        assertThat(Device.AUTO.inUse()).isEqualTo(cuda ? Device.CUDA : Device.CPU);
        if (cuda) {
            assertThat(Device.CUDA.inUse()).isEqualTo(Device.CUDA);
        } else {
            assertThatThrownBy(Device.CUDA::inUse)
                    .isInstanceOf(BadInputException.class)
                    .hasMessageStartingWith("--device cuda: this PyTorch has no CUDA or finds no GPU; leave");
        }
    }

    /** A replica with parameters of its own, as a GPU has one, here in the same memory: the same loss and gradients bit for bit, step after step. */
    @ParameterizedTest
    @MethodSource("geometries")
    void aRemoteReplicaGivesTheSameGradients(Geometry geometry) {
        assertThat(gradients(geometry, Optional.of(Device.CPU))).isEqualTo(gradients(geometry, Optional.empty()));
    }

    /** Where there is a GPU: its gradients but for rounding. */
    @ParameterizedTest
    @MethodSource("geometries")
    void aGpuGivesTheSameGradientsButForRounding(Geometry geometry) {
        assumeTrue(torch.cuda_is_available(), "no GPU");
        float[] there = gradients(geometry, Optional.of(Device.CUDA));
        float[] here = gradients(geometry, Optional.empty());
        double gap = 0;
        double size = 0;
        for (int i = 0; i < here.length; i++) {
            gap += Math.pow((double) there[i] - here[i], 2);
            size += Math.pow(here[i], 2);
        }
        assertThat(Math.sqrt(gap / size)).isLessThan(0.02);
    }

    private static float[] gradients(Geometry geometry, Optional<Device> remote) {
        TrainingSettings settings = SmallTraining.settings(
                Recipe.TERNARY,
                2,
                new TrainingSettings.Steps(16, 1, 3e-3, 0.05, 1, 1, 0.9, UpdateRule.ADAMW),
                false,
                0,
                7,
                Precision.FP32,
                1);
        ImageSet images = ImageSet.of(new SyntheticImages(32, 1), geometry, PREPROCESSING);
        try (PointerScope _ = new PointerScope();
                ActivationRanges ranges = new ActivationRanges(geometry);
                TrainableModel model = TrainableModel.quantized(
                        geometry,
                        PREPROCESSING,
                        new WeightQuantizer.Ternary(true, TernaryWeights.Scale.SURVIVORS, 2.5f),
                        new WeightQuantizer.EightBit(),
                        ranges,
                        false,
                        5);
                Optimizer optimizer = new Optimizer(model, settings.steps());
                Replicas replicas = new Replicas(model, Optional.empty(), PREPROCESSING, 16, settings, remote)) {
            ModelProbe.disturb(model, new Random(3));
            replicas.observe(images, new int[] {0, 1, 2});
            ranges.update(0);
            for (int step = 0; step < 2; step++) {
                Draw draw = new Draw(Augmentation.order(images.size(), 7, step), 0, 16, step, 1);
                Replicas.Outcome outcome = replicas.gradient(images, draw, Precision.FP32);
                assertThat(outcome.loss()).isFinite();
                if (step == 0) {
                    optimizer.step(1e-3);
                }
            }
            float[] gradients = new float[model.parameters().layout().total()];
            Torch.floats(model.parameters().gradients()).get(gradients);
            assertThat(replicas.correct(images)).isBetween(0L, 32L);
            return gradients;
        }
    }
}
