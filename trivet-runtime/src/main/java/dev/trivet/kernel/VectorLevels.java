package dev.trivet.kernel;

import static dev.trivet.kernel.NativeMemory.ALL;
import static dev.trivet.kernel.NativeMemory.ORDER;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * A {@link LevelTable} in registers, for 64 codes at a time: its 256 bytes are four registers, each of which one instruction indexes
 * with six bits (AVX-512 VBMI); the other two bits pick among the four results. (Indexing two registers at once is one instruction as
 * well, but on JDK 25 it allocates its operands.) Immutable.
 */
final class VectorLevels {
    static final int LENGTH = 64;
    private static final VectorSpecies<Byte> B = ByteVector.SPECIES_512;
    /** Elsewhere a loop over bytes is faster; without VBMI HotSpot does each look-up in Java, with objects. */
    static final boolean SUPPORTED = ByteVector.SPECIES_PREFERRED.length() == LENGTH && indexesBytes();

    private final ByteVector first;
    private final ByteVector second;
    private final ByteVector third;
    private final ByteVector fourth;

    /** AVX-512 without VBMI (Cascade Lake) has registers of that length, too. */
    private static boolean indexesBytes() {
        if (!System.getProperty("os.arch").equals("amd64")) {
            return true;
        }
        try (Stream<String> lines = Files.lines(Path.of("/proc/cpuinfo"))) {
            return lines.filter(line -> line.startsWith("flags"))
                    .findFirst()
                    .filter(line -> (line + " ").contains(" avx512vbmi "))
                    .isPresent();
        } catch (IOException | UncheckedIOException _) {
            return false;
        }
    }

    VectorLevels(byte[] levels) {
        first = ByteVector.fromArray(B, levels, 0);
        second = ByteVector.fromArray(B, levels, LENGTH);
        third = ByteVector.fromArray(B, levels, 2 * LENGTH);
        fourth = ByteVector.fromArray(B, levels, 3 * LENGTH);
    }

    /** @param count at least {@link #LENGTH} */
    void replace(MemorySegment codes, long from, int count) {
        long address = NativeMemory.target(codes, from, count);
        int last = count - LENGTH;
        for (int i = 0; i < last; i += LENGTH) {
            replace(address + i);
        }
        replace(address + last);
    }

    private void replace(long address) {
        ByteVector code = ByteVector.fromMemorySegment(B, ALL, address, ORDER);
        ByteVector index = code.lanewise(VectorOperators.AND, (byte) (LENGTH - 1));
        VectorMask<Byte> odd = code.lanewise(VectorOperators.AND, (byte) LENGTH).compare(VectorOperators.NE, (byte) 0);
        ByteVector lower = index.selectFrom(first).blend(index.selectFrom(second), odd);
        ByteVector upper = index.selectFrom(third).blend(index.selectFrom(fourth), odd);
        lower.blend(upper, code.compare(VectorOperators.LT, (byte) 0)).intoMemorySegment(ALL, address, ORDER);
    }
}
