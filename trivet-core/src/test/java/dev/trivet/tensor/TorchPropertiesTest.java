package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.lifecycle.AfterProperty;
import net.jqwik.api.lifecycle.BeforeProperty;
import net.jqwik.api.statistics.Statistics;

/** Whatever happens to a file of {@code torch.save}, it is read or refused with one line, in bounded memory. */
class TorchPropertiesTest {
    /** The files have 8 kB; damaged numbers may make a few tensors of 4 MB of it, the limit of what may repeat. */
    private static final long MOST_ALLOCATED = 24 << 20;

    private static final String PICKLE = "a/data.pkl";

    private Path folder = Path.of("");
    private byte[] training = {};
    private byte[] views = {};
    private List<Map<String, byte[]>> contents = List.of();

    @BeforeProperty
    void readFixtures() throws IOException {
        folder = Files.createTempDirectory("torch");
        training = Files.readAllBytes(fixture("training.pth"));
        views = Files.readAllBytes(fixture("views_protocol4.pth"));
        contents = List.of(contents(fixture("training.pth")), contents(fixture("views_protocol4.pth")));
        // Loading the classes allocates more than any file does.
        try (TorchFile file = TorchFile.open(fixture("views_protocol4.pth"))) {
            file.find("transposed");
            TorchFile.open(fixture("training.pth")).close();
            assertThatThrownBy(() -> TorchFile.open(fixture("whole_model.pth"))).isInstanceOf(BadInputException.class);
        }
    }

    @AfterProperty
    void removeFolder() throws IOException {
        Files.deleteIfExists(folder.resolve("damaged.pth"));
        Files.delete(folder);
    }

    private static Path fixture(String name) {
        try {
            return Path.of(Objects.requireNonNull(TorchPropertiesTest.class.getResource("/fixtures/torch/" + name))
                    .toURI());
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    /** The zip structure is a third of these files, so bytes anywhere reach everything. */
    @Property(tries = 2000)
    void flippedBytesAreRefusedOrRead(
            @ForAll boolean one, @ForAll @IntRange(min = 1, max = 6) int flips, @ForAll long seed) {
        byte[] bytes = (one ? training : views).clone();
        Random random = new Random(seed);
        for (int i = 0; i < flips; i++) {
            bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
        }
        collect("flipped bytes", readAll(bytes));
    }

    /** Damage inside the pickle, past the checksum, which is made to fit. */
    @Property(tries = 4000)
    @SuppressWarnings("EnumOrdinal") // any opcode will do
    void damagedPickleIsRefusedOrRead(
            @ForAll boolean one, @ForAll @IntRange(min = 1, max = 3) int changes, @ForAll long seed)
            throws IOException {
        Map<String, byte[]> source = contents.get(one ? 0 : 1);
        byte[] pickle = Objects.requireNonNull(source.get(PICKLE)).clone();
        Random random = new Random(seed);
        for (int i = 0; i < changes; i++) {
            int at = random.nextInt(pickle.length);
            pickle = switch (random.nextInt(4)) {
                case 0 -> withByte(pickle, at, pickle[at] ^ (1 << random.nextInt(8)));
                case 1 ->
                    withByte(
                            pickle,
                            at,
                            PickleOpcode.values()[random.nextInt(20)].name().charAt(0));
                case 2 -> withByte(pickle, at, random.nextBoolean() ? 0xff : 0x7f);
                default -> joined(Arrays.copyOf(pickle, at), pickle, Math.min(pickle.length, at + random.nextInt(8)));
            };
        }
        HandZip zip = new HandZip().add(PICKLE, pickle);
        source.forEach((name, content) -> {
            if (!name.equals(PICKLE)) {
                zip.add(name, content);
            }
        });
        collect("damaged pickle", readAll(zip.bytes()));
    }

    /** The fixtures have tensors that Trivet does not read, so a file that is accepted is read in part. */
    private static void collect(String label, String outcome) {
        Statistics.label(label).collect(outcome).coverage(all -> {
            all.check("refused").percentage(p -> p > 10);
            all.check("read in part").percentage(p -> p > 1);
        });
    }

    private static byte[] withByte(byte[] bytes, int at, int value) {
        bytes[at] = (byte) value;
        return bytes;
    }

    private static byte[] joined(byte[] head, byte[] bytes, int from) {
        byte[] all = Arrays.copyOf(head, head.length + bytes.length - from);
        System.arraycopy(bytes, from, all, head.length, bytes.length - from);
        return all;
    }

    /** Every entry's content, under a prefix that is the same for all files. */
    private static Map<String, byte[]> contents(Path file) throws IOException {
        Map<String, byte[]> contents = new LinkedHashMap<>();
        try (ZipFile zip = new ZipFile(file.toFile())) {
            for (ZipEntry entry : Collections.list(zip.entries())) {
                try (InputStream in = zip.getInputStream(entry)) {
                    contents.put("a" + entry.getName().substring(entry.getName().indexOf('/')), in.readAllBytes());
                }
            }
        }
        return contents;
    }

    @Property(tries = 1000)
    void truncatedFileIsRefused(@ForAll @IntRange(max = 8000) int length) {
        assertThat(training).hasSizeGreaterThan(8000);
        assertThat(readAll(Arrays.copyOf(training, length))).isEqualTo("refused");
    }

    @Property(tries = 500)
    void anyBytesAfterAZipStartAreRefused(@ForAll byte[] bytes) {
        byte[] start = {'P', 'K', 3, 4};
        assertThat(readAll(joined(start, bytes, 0))).isEqualTo("refused");
    }

    /** Opens the file and every tensor; any exception but BadInputException escapes and fails the test. */
    private String readAll(byte[] bytes) {
        Path path = HandBuilt.write(folder.resolve("damaged.pth"), bytes);
        long before = Allocation.ofThisThread();
        String outcome = "read";
        try (TorchFile file = TorchFile.open(path)) {
            for (String name : file.names()) {
                try {
                    Tensor tensor = file.find(name).orElseThrow();
                    if (tensor.elements() > 0) {
                        tensor.floatAt(tensor.elements() - 1);
                    }
                } catch (BadInputException e) {
                    check(e, path);
                    outcome = "read in part";
                }
            }
        } catch (BadInputException e) {
            check(e, path);
            outcome = "refused";
        }
        assertThat(Allocation.ofThisThread() - before).isLessThan(MOST_ALLOCATED);
        return outcome;
    }

    private static void check(BadInputException e, Path path) {
        assertThat(e).hasMessageStartingWith(path + ": ").hasMessageNotContainingAny("\n", "\r");
        assertThat(String.valueOf(e.getMessage())).hasSizeLessThan(1000);
    }
}
