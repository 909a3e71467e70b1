package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Zip files that are damaged, lie about their entries or are no checkpoint. */
class MalformedTorchTest {
    private static final byte[] PICKLE = HandPickle.stateDict("t").bytes();
    private static final byte[] DATA = new byte[8];

    @TempDir
    Path folder;

    /** Loading the classes allocates more than any file does. */
    @BeforeEach
    void open() {
        Path file = HandBuilt.write(folder.resolve("sound.pth"), zip().bytes());
        TorchFile.open(file).close();
        Path damaged = HandBuilt.write(folder.resolve("damaged.pth"), new byte[4]);
        assertThatThrownBy(() -> TorchFile.open(damaged)).isInstanceOf(BadInputException.class);
    }

    private static HandZip zip() {
        return HandZip.torch(PICKLE, DATA);
    }

    private static Arguments refused(String label, HandZip zip, String problem) {
        return Arguments.of(label, zip.bytes(), problem);
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    /** The sound file with a 32-bit number changed at an offset from its start, or from its end where negative. */
    private static byte[] changed(byte[] file, int at, int value) {
        byte[] copy = file.clone();
        ByteBuffer.wrap(copy).order(ByteOrder.LITTLE_ENDIAN).putInt(at < 0 ? copy.length + at : at, value);
        return copy;
    }

    static Stream<Arguments> files() {
        byte[] good = zip().bytes();
        byte[] wide = zip().bytes(true, 3);
        return Stream.of(
                Arguments.of("no bytes", new byte[0], "is empty; give a file that torch.save wrote"),
                Arguments.of("text", ascii("version https://git-lfs.github.com/spec/v1"), "is not a zip file"),
                Arguments.of("safetensors", HandBuilt.bytes("{}", new byte[0]), "is not a zip file"),
                Arguments.of("a bare pickle", PICKLE, "is not a zip file"),
                Arguments.of("four bytes", Arrays.copyOf(good, 4), "is truncated"),
                Arguments.of("without its directory", Arrays.copyOf(good, 200), "is truncated"),
                Arguments.of("without its last byte", Arrays.copyOf(good, good.length - 1), "is truncated"),
                Arguments.of("one byte too many", Arrays.copyOf(good, good.length + 1), "is truncated"),
                Arguments.of("directory beyond the end", changed(good, -6, 1 << 30), "points outside the file"),
                Arguments.of("directory too long", changed(good, -10, 1 << 30), "points outside the file"),
                Arguments.of("directory elsewhere", changed(good, -6, 3), "ends before its 3 entries"),
                Arguments.of("no 64-bit part", changed(good, -6, -1), "without its 64-bit part"),
                Arguments.of("64-bit part elsewhere", changed(wide, -34, 5), "64-bit part is not where it should be"),
                Arguments.of("64-bit part beyond", changed(wide, -30, -1), "points outside the file"),
                Arguments.of("a billion entries", zip().bytes(true, 1L << 30), "claims 1073741824 zip entries"),
                Arguments.of("2^63 entries", zip().bytes(true, Long.MIN_VALUE), "points outside the file"),
                Arguments.of("four entries of three", zip().bytes(false, 4), "ends before its 4 entries"));
    }

    static Stream<Arguments> entries() {
        return Stream.of(
                refused("no pickle", new HandZip().add("a.txt", DATA), "is a zip file with no data.pkl"),
                refused("pickle at the top", new HandZip().add("data.pkl", PICKLE), "with no data.pkl"),
                refused("pickle two folders deep", new HandZip().add("a/b/data.pkl", PICKLE), "with no data.pkl"),
                refused("two pickles", zip().add("other/data.pkl", PICKLE), "with more than one data.pkl"),
                refused("no storage", HandZip.torch(PICKLE), "lacks its zip entry archive/data/0"),
                refused("the same name twice", zip().add("archive/data/0", DATA), "zip entry archive/data/0 twice"),
                refused("one entry under two names", zip().again("archive/data/1"), "where its directory says"),
                refused(
                        "storage cut short",
                        HandZip.torch(PICKLE, new byte[7]),
                        "has 7 bytes in zip entry archive/data/0"),
                refused("two sizes", zip().add("archive/data/1", DATA, 1L << 31, 0, 0), "archive/data/1 two sizes"),
                refused(
                        "encrypted",
                        zip().add("archive/data/1", DATA, 8, 0, 1),
                        "has an encrypted zip entry archive/data/1"),
                refused("strongly encrypted", zip().add("archive/data/1", DATA, 8, 0, 0x41), "has an encrypted"),
                refused("bzip2", zip().add("archive/data/1", DATA, 8, 12, 0), "in compression method 12"),
                refused("TorchScript", zip().add("archive/constants.pkl", DATA), "is a TorchScript program"),
                refused(
                        "big-endian",
                        new HandZip().add("a/data.pkl", PICKLE).add("a/byteorder", ascii("big")),
                        "was written on a big-endian machine"),
                refused(
                        "byte order of a megabyte",
                        new HandZip().add("a/data.pkl", PICKLE).add("a/byteorder", new byte[1 << 20]),
                        "big-endian"),
                refused(
                        "wrong checksum of the pickle",
                        new HandZip().addWithChecksum("a/data.pkl", PICKLE, 1),
                        "the checksum of zip entry a/data.pkl is wrong"),
                refused(
                        "pickle of 17 MB",
                        new HandZip().add("a/data.pkl", new byte[17 << 20]),
                        "has a data.pkl of 17825792 bytes, more than 16777216; save only"),
                refused(
                        "zip bomb",
                        zip().addDeflated("archive/data/1", new byte[64 << 20]),
                        "unpack to more than 16 times the file; save it again with torch.save"),
                refused("zip bombs that are each small", bombs(), "unpack to more than 16 times the file"),
                refused(
                        "claims 2^31 bytes",
                        zip().add("archive/data/1", DATA, 1L << 31, 8, 0),
                        "unpack to more than 16 times the file"),
                refused(
                        "unpacks to more than it says",
                        new HandZip().add("a/data.pkl", deflated(100), 99, 8, 0),
                        "a/data.pkl that does not unpack to its 99 bytes"),
                refused(
                        "unpacks to less than it says",
                        new HandZip().add("a/data.pkl", deflated(100), 101, 8, 0),
                        "a/data.pkl that does not unpack to its 101 bytes"),
                refused(
                        "compressed data cut short",
                        new HandZip().add("a/data.pkl", Arrays.copyOf(deflated(100), 2), 100, 8, 0),
                        "does not unpack to its 100 bytes"),
                refused(
                        "not compressed data",
                        new HandZip().add("a/data.pkl", ascii("\u007f\u007f\u007f"), 100, 8, 0),
                        "does not unpack"));
    }

    private static HandZip bombs() {
        HandZip zip = zip();
        for (int i = 1; i < 80; i++) {
            zip.addDeflated("archive/data/" + i, new byte[1 << 18]);
        }
        return zip;
    }

    private static byte[] deflated(int length) {
        java.util.zip.Deflater deflater = new java.util.zip.Deflater(9, true);
        deflater.setInput(new byte[length]);
        deflater.finish();
        byte[] packed = new byte[length + 64];
        int size = deflater.deflate(packed);
        deflater.end();
        return Arrays.copyOf(packed, size);
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource({"files", "entries"})
    void isRefused(String label, byte[] bytes, String problem) {
        Path file = HandBuilt.write(folder.resolve("model.pth"), bytes);
        long before = Allocation.ofThisThread();
        assertThatThrownBy(() -> TorchFile.open(file))
                .as(label)
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContaining(problem)
                .hasMessageNotContainingAny("\n", "\r", "(null");
        assertThat(Allocation.ofThisThread() - before).isLessThan(8 << 20);
    }

    /** The header of the sound file's second entry, moved into the first one. */
    @Test
    void overlappingEntriesAreRefused() {
        byte[] pickle = new HandZip().add("x", DATA).bytes();
        byte[] inner = Arrays.copyOf(pickle, 30 + 1 + 5 + DATA.length);
        HandZip outer = new HandZip().add("archive/data.pkl", PICKLE).add("archive/data/0", inner);
        byte[] bytes = outer.add("x", DATA).bytes();
        int first = indexOf(bytes, inner);
        int directory = bytes.length - 22 - (46 + 1);
        Path file = HandBuilt.write(folder.resolve("model.pth"), changed(bytes, directory + 42, first));
        assertThatThrownBy(() -> TorchFile.open(file))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": has zip entry archive/data/0 and zip entry x that overlap");
    }

    private static int indexOf(byte[] bytes, byte[] part) {
        for (int i = 0; i + part.length <= bytes.length; i++) {
            if (Arrays.equals(bytes, i, i + part.length, part, 0, part.length)) {
                return i;
            }
        }
        throw new AssertionError("not found");
    }

    /** Only reading them all would tell at once; so it is told when the tensor is read, and each time. */
    @Test
    void damagedStorageIsNamedWhenRead() {
        HandZip zip = new HandZip().add("a/data.pkl", PICKLE).addWithChecksum("a/data/0", DATA, 77);
        Path path = HandBuilt.write(folder.resolve("model.pth"), zip.bytes());
        try (TorchFile file = TorchFile.open(path)) {
            for (int i = 0; i < 2; i++) {
                assertThatThrownBy(() -> file.find("t"))
                        .isInstanceOf(BadInputException.class)
                        .hasMessage(path + ": is damaged: the checksum of zip entry a/data/0 is wrong; "
                                + "copy or download the file again");
            }
        }
    }

    @Test
    void folderAndMissingFileAreRefused() {
        assertThatThrownBy(() -> TorchFile.open(folder))
                .isInstanceOf(BadInputException.class)
                .hasMessage(folder + ": is a folder; name a .pth or .pt file");
        Path absent = folder.resolve("absent.pth");
        assertThatThrownBy(() -> TensorFile.open(absent))
                .isInstanceOf(BadInputException.class)
                .hasMessage(absent + ": no such file; check the path");
    }
}
