package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Exact products of operands wider than a byte, composed of byte products of any provider. A code is written in base 64 with
 * two digits, {@code c = low + 64 high}; digits of unsigned codes are in 0..63 and 0..15, those of signed codes in -32..31 and
 * -8..8. Then
 *
 * <pre>sum a b = sum a_low b_low + 64 (sum a_high b_low + sum a_low b_high) + 4096 sum a_high b_high,</pre>
 *
 * two products where one operand is wide and four where both are. Sums must fit 32 bits, which {@code LinearOperator} checks
 * for constant weights; attention sums are over head widths and token counts, far below the bound.
 *
 * <p>Operands that fit a byte go straight to the provider.
 */
public final class DigitProducts {
    private static final int BASE_BITS = 6;
    private static final ValueLayout.OfShort CODE = ValueLayout.JAVA_SHORT_UNALIGNED;

    private static final int LEFT_LOW = 0;
    private static final int LEFT_HIGH = 1;
    private static final int RIGHT_LOW = 2;
    private static final int RIGHT_HIGH = 3;
    private static final int PARTIAL = 4;

    private DigitProducts() {}

    /**
     * Packs integer weights.
     *
     * @param codes signed {@code [outputs, inputs]}, bytes or, if {@code wideWeights}, two bytes each
     * @param wideInput whether the input's codes are two bytes each
     */
    public static Linear linear(
            Kernels kernels,
            MemorySegment codes,
            boolean wideWeights,
            int outputs,
            int inputs,
            int typicalRows,
            boolean wideInput) {
        if (!wideWeights && !wideInput) {
            return kernels.integerLinear(codes, outputs, inputs, typicalRows);
        }
        if (!wideWeights) {
            return new DigitLinear(
                    new Linear[] {kernels.integerLinear(codes, outputs, inputs, typicalRows)}, outputs, inputs, true);
        }
        long count = (long) outputs * inputs;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment low = arena.allocate(count, 64);
            MemorySegment high = arena.allocate(count, 64);
            split(codes, count, true, low, high);
            Linear lowLinear = kernels.integerLinear(low, outputs, inputs, typicalRows);
            try {
                Linear highLinear = kernels.integerLinear(high, outputs, inputs, typicalRows);
                return new DigitLinear(new Linear[] {lowLinear, highLinear}, outputs, inputs, wideInput);
            } catch (RuntimeException | Error e) {
                lowLinear.close();
                throw e;
            }
        }
    }

    /** A product of two activations in the given forms. */
    public static Matmul matmul(Kernels kernels, MatmulShape shape, Operand left, Operand right) {
        boolean signed = left.quantizer().orElseThrow().signed();
        Matmul bytes = kernels.integerMatmul(shape, signed);
        if (!left.isWide() && !right.isWide()) {
            return bytes;
        }
        shape.requireOneBehindTheOther();
        return new DigitMatmul(bytes, shape, left.isWide(), signed, right.isWide());
    }

    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record DigitLinear(Linear[] digits, int outputs, int inputs, boolean wideInput) implements Linear {
        @Override
        public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
            long count = (long) rows * inputs;
            long sums = (long) rows * outputs;
            MemorySegment low = in;
            MemorySegment high = in;
            if (wideInput) {
                low = workspace.scratch(LEFT_LOW, count);
                high = workspace.scratch(LEFT_HIGH, count);
                split(in, count, false, low, high);
            }
            MemorySegment partial = workspace.scratch(PARTIAL, 4 * sums);
            digits[0].run(workspace, low, rows, out);
            if (wideInput) {
                digits[0].run(workspace, high, rows, partial);
                add(out, partial, sums, BASE_BITS);
            }
            if (digits.length > 1) {
                digits[1].run(workspace, low, rows, partial);
                add(out, partial, sums, BASE_BITS);
                if (wideInput) {
                    digits[1].run(workspace, high, rows, partial);
                    add(out, partial, sums, 2 * BASE_BITS);
                }
            }
        }

        @Override
        public long weightBytes() {
            return Arrays.stream(digits).mapToLong(Linear::weightBytes).sum();
        }

        @Override
        public void close() {
            for (Linear digit : digits) {
                digit.close();
            }
        }
    }

    private record DigitMatmul(Matmul bytes, MatmulShape shape, boolean wideLeft, boolean leftSigned, boolean wideRight)
            implements Matmul {
        @Override
        public void run(Workspace workspace, MemorySegment left, MemorySegment right, int batch, MemorySegment out) {
            long leftCount = (long) batch * shape.m() * shape.k();
            long rightCount = (long) batch * shape.n() * shape.k();
            long sums = (long) batch * shape.m() * shape.n();
            MemorySegment leftLow = left;
            MemorySegment leftHigh = left;
            if (wideLeft) {
                leftLow = workspace.scratch(LEFT_LOW, leftCount);
                leftHigh = workspace.scratch(LEFT_HIGH, leftCount);
                split(left, leftCount, leftSigned, leftLow, leftHigh);
            }
            MemorySegment rightLow = right;
            MemorySegment rightHigh = right;
            if (wideRight) {
                rightLow = workspace.scratch(RIGHT_LOW, rightCount);
                rightHigh = workspace.scratch(RIGHT_HIGH, rightCount);
                split(right, rightCount, true, rightLow, rightHigh);
            }
            MemorySegment partial = workspace.scratch(PARTIAL, 4 * sums);
            bytes.run(workspace, leftLow, rightLow, batch, out);
            if (wideLeft) {
                bytes.run(workspace, leftHigh, rightLow, batch, partial);
                add(out, partial, sums, BASE_BITS);
            }
            if (wideRight) {
                bytes.run(workspace, leftLow, rightHigh, batch, partial);
                add(out, partial, sums, BASE_BITS);
                if (wideLeft) {
                    bytes.run(workspace, leftHigh, rightHigh, batch, partial);
                    add(out, partial, sums, 2 * BASE_BITS);
                }
            }
        }
    }

    /** Writes each two-byte code as two digits. */
    private static void split(MemorySegment codes, long count, boolean signed, MemorySegment low, MemorySegment high) {
        int half = signed ? 1 << (BASE_BITS - 1) : 0;
        int mask = (1 << BASE_BITS) - 1;
        for (long i = 0; i < count; i++) {
            int code = codes.get(CODE, 2 * i);
            int digit = ((code + half) & mask) - half;
            low.set(JAVA_BYTE, i, (byte) digit);
            high.set(JAVA_BYTE, i, (byte) ((code - digit) >> BASE_BITS));
        }
    }

    private static void add(MemorySegment out, MemorySegment partial, long count, int shift) {
        for (long i = 0; i < count; i++) {
            int sum = out.getAtIndex(JAVA_INT, i) + (partial.getAtIndex(JAVA_INT, i) << shift);
            out.setAtIndex(JAVA_INT, i, sum);
        }
    }
}
