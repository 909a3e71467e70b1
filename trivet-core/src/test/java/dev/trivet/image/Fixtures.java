package dev.trivet.image;

import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;

/** Image files of the test resources and the pixels Pillow has for them. */
final class Fixtures {
    private Fixtures() {}

    static Path folder(String name) {
        try {
            return Path.of(Objects.requireNonNull(Fixtures.class.getResource("/" + name))
                    .toURI());
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    static Path image(String name) {
        return folder("fixtures/images").resolve(name);
    }

    static byte[] bytes(String name) {
        try {
            return Files.readAllBytes(image(name));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static List<String> imageNames() {
        try (SafetensorsFile file = SafetensorsFile.open(image("expected.safetensors"))) {
            return file.names();
        }
    }

    /** An image stored as a U8 tensor {@code [height, width, 3]}. */
    static RgbImage stored(Path safetensors, String name) {
        try (SafetensorsFile file = SafetensorsFile.open(safetensors)) {
            Tensor tensor = file.find(name).orElseThrow();
            return new RgbImage(
                    tensor.shape().get(1).intValue(),
                    tensor.shape().get(0).intValue(),
                    tensor.data().toArray(ValueLayout.JAVA_BYTE));
        }
    }
}
