package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.model.FloatCheckpoint;
import dev.trivet.model.Geometry;
import dev.trivet.model.Interpolation;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class FineTuningTest {
    private static final VitConfig VIT =
            new VitConfig(8, 4, 1, 16, 2, 2, 32, 5, Pooling.TOKEN, true, false, true, 1e-6f);
    private static final Preprocessing PREPROCESSING =
            new Preprocessing(8, 8, Interpolation.BICUBIC, List.of(0.4f), List.of(0.2f));
    private static final SyntheticImages TRAIN = new SyntheticImages(200, 1);
    private static final SyntheticImages TEST = new SyntheticImages(400, 2);

    @BeforeAll
    static void load() {
        Torch.load();
    }

    @TempDir
    private Path folder;

    private static List<Geometry> geometries() {
        return List.of(VIT, ModelProbe.SMALL_SWIN);
    }

    private static TrainingSettings settings(Recipe recipe, int epochs, double learningRate) {
        TrainingSettings.Steps steps =
                new TrainingSettings.Steps(16, 1, learningRate, 0.05, 1, 1, 0.9, UpdateRule.MUON);
        return SmallTraining.settings(recipe, epochs, steps, false, 0, 7, Precision.FP32, 2);
    }

    private double train(VitModel start, String name, int epochs, double learningRate) {
        return new Training(start, settings(Recipe.FINETUNE, epochs, learningRate), folder.resolve(name))
                .run(TRAIN, TEST, false, new TrainingListener() {});
    }

    private VitModel read(String name) {
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(folder.resolve(name), Optional.empty())) {
            return VitModel.read(checkpoint);
        }
    }

    /** A model of five classes with the weights that a training from scratch starts from. */
    private VitModel untrained(Geometry shape) {
        Geometry geometry = shape.withClasses(5);
        try (TrainableModel model = TrainableModel.of(geometry, Arithmetic.FLOAT, 3)) {
            new TrainingOutput(folder.resolve("untrained"), geometry, PREPROCESSING, List.of("a", "b", "c", "d", "e"))
                    .write(model.parameters().weights());
        }
        return read("untrained");
    }

    @ParameterizedTest
    @MethodSource("geometries")
    void learnsOtherClassesAndGoesOnWhereItEnded(Geometry geometry) {
        VitModel start = untrained(geometry).forClasses(TRAIN.classNames());
        double accuracy = train(start, "first", 20, 3e-3);
        assertThat(accuracy).isGreaterThan(0.95);
        VitModel trained = read("first");
        assertThat(trained.config().labels()).containsExactly("above", "left", "middle");
        assertThat(train(trained, "second", 1, 1e-9)).isCloseTo(accuracy, within(1e-9));
    }

    @Test
    void aNewHeadIsZeroAndTheRestIsKept() {
        VitModel old = untrained(VIT);
        VitModel changed = old.forClasses(TRAIN.classNames());
        assertThat(changed.geometry().classes()).isEqualTo(3);
        LinearLayer.Float32 head = (LinearLayer.Float32) changed.linear("head");
        assertThat(head.weight()).hasSize(3 * 16).containsOnly(0f);
        assertThat(head.bias()).hasSize(3).containsOnly(0f);
        assertThat(changed.linear("blocks.1.mlp.fc2")).isSameAs(old.linear("blocks.1.mlp.fc2"));
        assertThat(changed.floats("pos_embed")).isSameAs(old.floats("pos_embed"));
    }

    @Test
    void refusesWhatTheWrittenConfigCouldNotSay() {
        Preprocessing squashed =
                new Preprocessing(8, 8, Interpolation.BICUBIC, List.of(0.4f), List.of(0.2f), Preprocessing.Fit.SQUASH);
        VitModel model = untrained(VIT);
        ModelConfig config = new ModelConfig("vit", VIT, squashed, List.of());
        VitModel start = new VitModel(config, model.linears(), model.matmuls(), model.floats());
        assertThatThrownBy(() -> new Training(start, settings(Recipe.FINETUNE, 1, 1e-3), folder))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("squashed");
        Training quantizing = new Training(start, settings(Recipe.W8A8, 1, 1e-3), folder);
        assertThat(quantizing).isNotNull();
    }

    /** bfloat16 has 8 significant bits: attention weights and mixed values, both averages, are right to about two of its steps. */
    @Test
    void attentionInBfloat16IsThatInFloat() {
        ModelUnit.Block unit = VIT.units().stream()
                .filter(ModelUnit.Block.class::isInstance)
                .map(ModelUnit.Block.class::cast)
                .findFirst()
                .orElseThrow();
        try (PointerScope _ = new PointerScope()) {
            Tensor query = torch.randn(2, 2, 5, 8);
            Tensor key = torch.randn(2, 2, 5, 8);
            Tensor value = torch.rand(2, 2, 5, 8);
            Tensor exact = Arithmetic.FLOAT.attention(unit, query, key, value, Optional.empty());
            torch.set_autocast_dtype(DeviceType.CPU, ScalarType.BFloat16);
            torch.set_autocast_enabled(DeviceType.CPU, true);
            Tensor rounded;
            try {
                rounded = Arithmetic.FLOAT.attention(unit, query, key, value, Optional.empty());
            } finally {
                torch.set_autocast_enabled(DeviceType.CPU, false);
                torch.clear_cache();
            }
            assertThat(rounded.scalar_type().value).isEqualTo(ScalarType.BFloat16.value);
            double worst = rounded.to(ScalarType.Float).sub(exact).abs().max().item_double();
            assertThat(worst).isLessThan(0.02);
        }
    }
}
