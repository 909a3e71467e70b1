package dev.trivet.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Objects;
import java.util.stream.Collectors;

/**
 * A named array, row-major, little-endian.
 *
 * @param data exactly the bytes that dtype and shape ask for; lives as long as the file or arena it came from
 */
public record Tensor(String name, DType dtype, List<Long> shape, MemorySegment data) {
    private static final ValueLayout.OfFloat F32 = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt I32 = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfShort I16 = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /** @throws IllegalArgumentException if the bytes are not as many as type and shape ask for */
    public Tensor {
        shape = List.copyOf(shape);
        if (!fits(dtype, shape, data.byteSize())) {
            throw new IllegalArgumentException(
                    "tensor " + name + ": " + data.byteSize() + " bytes do not fit " + dtype + " " + shape);
        }
    }

    private static boolean fits(DType dtype, List<Long> shape, long bytes) {
        try {
            return shape.stream().allMatch(d -> d >= 0) && Math.multiplyExact(elements(shape), dtype.bytes()) == bytes;
        } catch (ArithmeticException _) {
            return false;
        }
    }

    /** A float tensor on the heap. */
    public static Tensor ofFloats(String name, float[] values, long... shape) {
        MemorySegment data = MemorySegment.ofArray(new byte[Math.multiplyExact(values.length, 4)]);
        for (int i = 0; i < values.length; i++) {
            data.set(F32, 4L * i, values[i]);
        }
        return new Tensor(name, DType.F32, boxed(shape), data);
    }

    /** An F16 tensor on the heap; values that half precision does not have are rounded to the nearest. */
    public static Tensor ofHalves(String name, float[] values, long... shape) {
        MemorySegment data = MemorySegment.ofArray(new byte[Math.multiplyExact(values.length, 2)]);
        for (int i = 0; i < values.length; i++) {
            data.set(I16, 2L * i, Float.floatToFloat16(values[i]));
        }
        return new Tensor(name, DType.F16, boxed(shape), data);
    }

    /** A tensor of any type over the bytes that it is stored as; the array is not copied. */
    public static Tensor ofBytes(String name, DType dtype, byte[] values, long... shape) {
        return new Tensor(name, dtype, boxed(shape), MemorySegment.ofArray(values));
    }

    private static List<Long> boxed(long[] shape) {
        return java.util.Arrays.stream(shape).boxed().toList();
    }

    /** Number of elements. */
    public long elements() {
        return elements(shape);
    }

    private static long elements(List<Long> shape) {
        long n = 1;
        for (long d : shape) {
            n = Math.multiplyExact(n, d);
        }
        return n;
    }

    /** The shape as {@code [a, b, c]}. */
    public String shapeText() {
        return shape.stream().map(String::valueOf).collect(Collectors.joining(", ", "[", "]"));
    }

    /** Whether elements are floating-point numbers. */
    public boolean isFloating() {
        return dtype == DType.F32 || dtype == DType.F16 || dtype == DType.BF16;
    }

    /**
     * Element {@code index} as a float: F16 and BF16 widen exactly, integers convert.
     *
     * @throws IndexOutOfBoundsException if there is no such element
     */
    public float floatAt(long index) {
        return read(Objects.checkIndex(index, data.byteSize() / dtype.bytes()));
    }

    private float read(long index) {
        return switch (dtype) {
            case F32 -> data.get(F32, 4 * index);
            case F16 -> Float.float16ToFloat(data.get(I16, 2 * index));
            case BF16 -> Float.intBitsToFloat(data.get(I16, 2 * index) << 16);
            case I8 -> data.get(ValueLayout.JAVA_BYTE, index);
            case U8 -> data.get(ValueLayout.JAVA_BYTE, index) & 0xff;
            case I32 -> data.get(I32, 4 * index);
        };
    }

    /** All elements as floats, in a new array. */
    public float[] toFloats() {
        float[] out = new float[Math.toIntExact(elements())];
        if (dtype == DType.F32) {
            MemorySegment.copy(data, F32, 0, out, 0, out.length);
            return out;
        }
        for (int i = 0; i < out.length; i++) {
            out[i] = read(i);
        }
        return out;
    }

    /** All elements of an I32 tensor. */
    public int[] toInts() {
        if (dtype != DType.I32) {
            throw new IllegalStateException("tensor " + name + " is " + dtype + ", not I32");
        }
        int[] out = new int[Math.toIntExact(elements())];
        for (int i = 0; i < out.length; i++) {
            out[i] = data.get(I32, 4L * i);
        }
        return out;
    }
}
