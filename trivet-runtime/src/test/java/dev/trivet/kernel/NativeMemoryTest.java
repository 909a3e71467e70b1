package dev.trivet.kernel;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;

/** What an access of a segment would refuse, asking for its address refuses, too. */
final class NativeMemoryTest {
    @Test
    void readsAndWritesWhereTheSegmentDoes() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment segment = arena.allocate(64, 64).asSlice(16, 32);
            long address = NativeMemory.address(segment, 4, 28);
            NativeMemory.ALL.set(ValueLayout.JAVA_INT, address + 24, 42);
            assertEquals(42, segment.get(ValueLayout.JAVA_INT, 28));
            assertEquals(address, NativeMemory.address(segment, 32) + 4);
        }
    }

    @Test
    void checksBounds() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment segment = arena.allocate(64);
            assertThrows(IndexOutOfBoundsException.class, () -> NativeMemory.address(segment, 65));
            assertThrows(IndexOutOfBoundsException.class, () -> NativeMemory.address(segment, 1, 64));
            assertThrows(IndexOutOfBoundsException.class, () -> NativeMemory.address(segment, -1, 2));
            assertThrows(IndexOutOfBoundsException.class, () -> NativeMemory.address(segment, -1));
            NativeMemory.address(segment, 64, 0);
        }
    }

    @Test
    void refusesTheHeap() {
        MemorySegment heap = MemorySegment.ofArray(new float[16]);
        assertThrows(IllegalArgumentException.class, () -> NativeMemory.address(heap, 64));
    }

    @Test
    void refusesClosedMemory() {
        Arena arena = Arena.ofShared();
        MemorySegment segment = arena.allocate(64);
        arena.close();
        assertThrows(IllegalStateException.class, () -> NativeMemory.address(segment, 64));
    }

    @Test
    void refusesAnotherThreadsMemory() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment segment = arena.allocate(64);
            CompletionException thrown = assertThrows(
                    CompletionException.class,
                    () -> CompletableFuture.supplyAsync(() -> NativeMemory.address(segment, 64))
                            .join());
            assertInstanceOf(WrongThreadException.class, thrown.getCause());
        }
    }

    @Test
    void refusesToWriteReadOnlyMemory() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment readOnly = arena.allocate(64).asReadOnly();
            NativeMemory.address(readOnly, 64);
            assertThrows(UnsupportedOperationException.class, () -> NativeMemory.target(readOnly, 64));
        }
    }

    /** Where bytes are multiplied as floats, weights may come from an array, as they do from a file that was read. */
    @Test
    void floatCodesTakeWeightsFromTheHeap() {
        int outputs = 5;
        int inputs = 600;
        byte[] codes = new byte[outputs * inputs];
        new Random(1).nextBytes(codes);
        try (Arena arena = Arena.ofConfined();
                Kernels kernels = new ReferenceKernels();
                Workspace workspace = kernels.openWorkspace();
                Linear linear = FloatCodes.linear(kernels, MemorySegment.ofArray(codes), outputs, inputs, 1);
                Linear expected = kernels.integerLinear(MemorySegment.ofArray(codes), outputs, inputs, 1)) {
            MemorySegment in =
                    arena.allocate(inputs).copyFrom(MemorySegment.ofArray(codes).asSlice(0, inputs));
            MemorySegment sums = arena.allocate(4L * outputs, 4);
            MemorySegment reference = arena.allocate(4L * outputs, 4);
            linear.run(workspace, in, 1, sums);
            expected.run(workspace, in, 1, reference);
            assertEquals(-1, sums.mismatch(reference));
        }
    }

    /** A pass over memory that is too short must not write behind it. */
    @Test
    void passesRefuseShortMemory() {
        if (!VectorPointwise.SUPPORTED) {
            return;
        }
        try (Arena arena = Arena.ofConfined()) {
            VectorPointwise pointwise = new VectorPointwise();
            MemorySegment x = arena.allocate(4L * 256, 64);
            MemorySegment out = arena.allocate(255, 64);
            Operand codes = Operand.of(new ActivationQuantizer(1, 128, 0, 255));
            assertThrows(IndexOutOfBoundsException.class, () -> pointwise.gelu(x, 256, codes, out));
            assertThrows(IndexOutOfBoundsException.class, () -> pointwise.layerNorm(x, 4, 64, x, x, 1e-6f, codes, out));
        }
    }
}
