package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class PackedCodesTest {
    @ParameterizedTest
    @CsvSource({
        "0, 1, 1",
        "-1, 0, 1",
        "-1, 1, 2",
        "-2, 1, 2",
        "-4, 3, 3",
        "-8, 7, 4",
        "-3, 10, 4",
        "-16, 15, 5",
        "-32, 31, 6",
        "-64, 63, 7",
        "-128, -1, 8",
        "-64, 64, 8"
    })
    void whatIsExpandedIsWhatWasPacked(int lowest, int highest, int bits) {
        for (int count : new int[] {1, 63, 64, 511, 512, 513, 5000}) {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment codes = codes(arena, count, lowest, highest);
                byte[] expected = codes.toArray(JAVA_BYTE);
                var packed = PackedCodes.of(codes, arena);
                if (bits == 8) {
                    assertThat(count < 500 || packed.isEmpty()).isTrue();
                    continue;
                }
                PackedCodes all = packed.orElseThrow();
                if (count > 500) {
                    assertThat(all.bytes()).isEqualTo(Math.ceilDiv(count, 512) * 64L * bits);
                }
                MemorySegment out = arena.allocate(all.expandedBytes() + 64, 64).fill((byte) 77);
                all.expand(out);
                assertThat(out.asSlice(0, count).toArray(JAVA_BYTE)).isEqualTo(expected);
                assertThat(out.asSlice(all.expandedBytes()).toArray(JAVA_BYTE)).containsOnly(77);
            }
        }
    }

    /** By hand: codes -1, 0 and 1 are 0, 1 and 2; code 0 of the group is in bits 0 and 1 of byte 0, code 64 in bits 2 and 3 of it. */
    @Test
    void fourTernaryCodesShareAByte() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment codes = arena.allocate(512).fill((byte) -1);
            codes.set(JAVA_BYTE, 0, (byte) 1);
            codes.set(JAVA_BYTE, 64, (byte) 0);
            codes.set(JAVA_BYTE, 128, (byte) 1);
            codes.set(JAVA_BYTE, 300, (byte) 1); // register 4, lane 44: the second packed register
            PackedCodes packed = PackedCodes.of(codes, arena).orElseThrow();
            assertThat(packed.bytes()).isEqualTo(128);
            assertThat(packed.part(0).get(JAVA_BYTE, 0)).isEqualTo((byte) 0b00_10_01_10);
            assertThat(packed.part(0).get(JAVA_BYTE, 64 + 44)).isEqualTo((byte) 0b00_00_00_10);
        }
    }

    /** Ragged and whole shapes; 8-bit weights beside them stay as they are. */
    @ParameterizedTest
    @ValueSource(ints = {2, 4, 6, 7, 8})
    void packedLayersGiveTheReference(int bits) {
        OnednnKernels plain;
        try {
            plain = new OnednnKernels();
        } catch (UnsatisfiedLinkError e) {
            Assumptions.abort("no oneDNN here: " + e.getMessage());
            return;
        }
        Kernels packing = plain.packingWeights();
        int half = 1 << (bits - 1);
        for (int[] shape : new int[][] {{5, 96, 192}, {7, 33, 41}, {3, 200, 1000}}) {
            try (Arena arena = Arena.ofConfined()) {
                int rows = shape[0];
                MemorySegment weight = codes(arena, shape[1] * shape[2], -half, half - 1);
                MemorySegment in = codes(arena, rows * shape[2], -128, 127);
                byte[] expected = run(new ReferenceKernels(), arena, weight, in, shape);
                assertThat(run(plain, arena, weight, in, shape)).isEqualTo(expected);
                assertThat(run(packing, arena, weight, in, shape)).isEqualTo(expected);
                try (Linear kept = plain.integerLinear(weight, shape[1], shape[2], rows);
                        Linear packed = packing.integerLinear(weight, shape[1], shape[2], rows)) {
                    if (packing != plain && bits < 8 && shape[2] == 192) {
                        assertThat(packed.weightBytes() * 8).isEqualTo(kept.weightBytes() * bits);
                    } else {
                        assertThat(packed.weightBytes()).isLessThanOrEqualTo(kept.weightBytes());
                    }
                }
            }
        }
        packing.close();
        plain.close();
    }

    private static byte[] run(Kernels kernels, Arena arena, MemorySegment weight, MemorySegment in, int[] shape) {
        MemorySegment out = arena.allocate(4L * shape[0] * shape[1], 64);
        try (Workspace workspace = kernels.openWorkspace();
                Linear linear = kernels.integerLinear(weight, shape[1], shape[2], shape[0])) {
            workspace.enter();
            linear.run(workspace, in, shape[0], out);
        }
        return out.toArray(JAVA_BYTE);
    }

    /** Random codes, both ends of the range among them. */
    private static MemorySegment codes(Arena arena, int count, int lowest, int highest) {
        SplittableRandom random = new SplittableRandom(count);
        byte[] codes = new byte[count];
        for (int i = 0; i < count; i++) {
            codes[i] = (byte) random.nextInt(lowest, highest + 1);
        }
        if (count > 2) {
            codes[count / 2] = (byte) lowest;
            codes[count - 1] = (byte) highest;
        }
        MemorySegment segment = arena.allocate(count, 64);
        return segment.copyFrom(MemorySegment.ofArray(Arrays.copyOf(codes, count)));
    }
}
