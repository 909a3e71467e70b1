package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.data.CifarImages;
import dev.trivet.model.Interpolation;
import dev.trivet.model.ModelConfig;
import dev.trivet.model.Pooling;
import dev.trivet.model.Preprocessing;
import dev.trivet.model.VitConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Which models CIFAR-10 is evaluated and trained with. */
class PackedDatasetTest {
    @TempDir
    Path folder;

    @BeforeEach
    void writeOneImageEach() throws IOException {
        Files.write(folder.resolve("data_batch_1.bin"), new byte[3073]);
        Files.write(folder.resolve("test_batch.bin"), new byte[3073]);
    }

    private static ModelConfig config(int classes, List<String> labels) {
        VitConfig geometry = new VitConfig(32, 8, 3, 16, 1, 2, 32, classes, Pooling.TOKEN, true, false, true, 1e-6f);
        Preprocessing preprocessing = new Preprocessing(
                32, 32, Interpolation.BICUBIC, Preprocessing.IMAGENET_MEAN, Preprocessing.IMAGENET_STD);
        return new ModelConfig("vit_tiny_patch16_224", geometry, preprocessing, labels);
    }

    @ParameterizedTest
    @ValueSource(ints = {9, 11, 1000})
    void refusesAModelWithAnotherNumberOfClasses(int classes) {
        ModelConfig config = config(classes, List.of());
        assertThatThrownBy(() -> PackedDataset.test(folder, config))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("has 10 classes where the model has " + classes);
        assertThatThrownBy(() -> PackedDataset.train(folder, config)).isInstanceOf(BadInputException.class);
    }

    @Test
    void refusesAModelThatHasTheClassesInAnotherOrder() {
        List<String> swapped = new ArrayList<>(CifarImages.CLASSES);
        swapped.set(3, "dog");
        swapped.set(5, "cat");
        ModelConfig config = config(10, swapped);
        assertThatThrownBy(() -> PackedDataset.test(folder, config))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("bird, cat, deer, dog")
                .hasMessageContaining("bird, dog, deer, cat");
        assertThatThrownBy(() -> PackedDataset.train(folder, config)).isInstanceOf(BadInputException.class);
    }

    @Test
    void takesTheSameOrderNoNamesAndOtherNames() {
        List<String> other = List.of("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "lorry");
        for (List<String> labels : List.of(CifarImages.CLASSES, List.<String>of(), other)) {
            assertThat(PackedDataset.test(folder, config(10, labels)).size()).isEqualTo(1);
        }
    }
}
