package dev.trivet.format;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.BadInputException;
import dev.trivet.model.VitModel;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.lifecycle.AfterProperty;
import net.jqwik.api.lifecycle.BeforeProperty;

/** A damaged file gives a model or a message, never another exception. */
class DamagedModelPropertiesTest {
    private Path folder = Path.of("");
    private Path file = Path.of("");
    private byte[] sound = new byte[0];
    private byte[] ternary = new byte[0];

    record Change(double where, byte value) {}

    @BeforeProperty
    void write() throws IOException {
        write(SmallModel.mixed());
    }

    private void write(VitModel model) throws IOException {
        folder = Files.createTempDirectory("damaged");
        file = folder.resolve("model.safetensors");
        Provenance provenance =
                new Provenance(Map.of("seed", "7"), Optional.of("{\"bits\":[4,8]}"), Optional.of("{\"head\":0.5}"));
        QuantizedModelFile.write(file, model, provenance);
        sound = Files.readAllBytes(file);
    }

    @AfterProperty
    void remove() throws IOException {
        Files.deleteIfExists(file);
        Files.delete(folder);
    }

    private void readDamaged(byte[] bytes) throws IOException {
        Files.write(file, bytes);
        try {
            ModelFile model = ModelFile.read(file, Optional.empty());
            assertThat(model.model().geometry().classes()).isPositive();
        } catch (BadInputException e) {
            assertThat(e.getMessage()).startsWith(folder.toString()).doesNotContain("\n");
        }
    }

    /** Half of the changes fall on the header, where the structure is. */
    @Provide
    Arbitrary<List<Change>> changes() {
        Arbitrary<Double> header = Arbitraries.doubles().between(0, 0.5);
        Arbitrary<Double> all = Arbitraries.doubles().between(0, 1);
        // JSON's own characters make sound syntax of another meaning.
        Arbitrary<Byte> structure =
                Arbitraries.of(bytes("0123456789{}[],:\"-.eEn ")).map(Integer::byteValue);
        return Combinators.combine(Arbitraries.oneOf(header, all), Arbitraries.oneOf(structure, Arbitraries.bytes()))
                .as(Change::new)
                .list()
                .ofMinSize(1)
                .ofMaxSize(4);
    }

    private static List<Integer> bytes(String text) {
        return text.chars().boxed().toList();
    }

    @Property(tries = 1500)
    void changedBytes(@ForAll("changes") List<Change> changes) throws IOException {
        readDamaged(changes);
    }

    @Property(tries = 500)
    void changedBytesOfATernaryModel(@ForAll("changes") List<Change> changes) throws IOException {
        if (ternary.length == 0) {
            write(SmallModel.ternary());
            ternary = sound;
        }
        readDamaged(changes);
    }

    private void readDamaged(List<Change> changes) throws IOException {
        byte[] bytes = sound.clone();
        for (Change change : changes) {
            bytes[(int) Math.min(bytes.length - 1, change.where * bytes.length)] = change.value;
        }
        readDamaged(bytes);
    }

    /** Values of the header replaced by others of any JSON type. */
    @Property(tries = 600)
    void changedJsonValues(
            @ForAll("values") String value, @ForAll @net.jqwik.api.constraints.IntRange(max = 400) int which)
            throws IOException {
        int length = java.nio.ByteBuffer.wrap(sound)
                .order(java.nio.ByteOrder.LITTLE_ENDIAN)
                .getInt();
        String header = new String(sound, 8, length, StandardCharsets.UTF_8);
        java.util.regex.Matcher matcher = java.util.regex.Pattern.compile("-?\\d+(\\.\\d+)?(E-?\\d+)?|true|false")
                .matcher(header);
        for (int i = 0; i <= which; i++) {
            if (!matcher.find()) {
                matcher.reset();
                assertThat(matcher.find()).isTrue();
            }
        }
        String changed = header.substring(0, matcher.start()) + value + header.substring(matcher.end());
        byte[] text = changed.getBytes(StandardCharsets.UTF_8);
        java.nio.ByteBuffer bytes = java.nio.ByteBuffer.allocate(8 + text.length + sound.length - 8 - length)
                .order(java.nio.ByteOrder.LITTLE_ENDIAN)
                .putLong(text.length)
                .put(text)
                .put(sound, 8 + length, sound.length - 8 - length);
        readDamaged(bytes.array());
    }

    @Provide
    Arbitrary<String> values() {
        return Arbitraries.of(
                "null",
                "true",
                "0",
                "-1",
                "1.5",
                "255",
                "256",
                "65537",
                "2147483647",
                "2147483648",
                "1e39",
                "1e400",
                "1e-46",
                "[]",
                "[null]",
                "{}",
                "\\\"x\\\"",
                "\"x\"",
                "NaN",
                "9".repeat(1001));
    }

    @Property(tries = 200)
    void cutShort(@ForAll @net.jqwik.api.constraints.DoubleRange(max = 1) double part) throws IOException {
        readDamaged(java.util.Arrays.copyOf(sound, (int) (part * sound.length)));
    }
}
