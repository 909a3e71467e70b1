package dev.trivet.kernel;

import static dev.trivet.kernel.NativeMemory.ALL;
import static dev.trivet.kernel.NativeMemory.ORDER;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * The passes of {@link VectorPointwise} from int32 sums to bytes, which are nearly all of a quantized model's: one loop each, in which a value never
 * leaves its register. What they compute is {@link ReferencePointwise}'s, bit for bit.
 *
 * <p>HotSpot makes such a loop fast on two conditions (docs/decisions.md has the measurements). Each pass is one method with its loops inside: a
 * method of many vector operations that is called for each register is compiled by itself and not inlined, and then sets up its constants
 * each time. And a ragged end has no loop of its own: the last register of a row begins earlier, so that it ends with the row, and writes some
 * bytes again.
 *
 * <p>For one thread.
 */
final class IntegerPasses {
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    private static final int L = F.length();
    private static final IntVector LANE = IntVector.zero(I).addIndex(1);

    /** One byte per lane; not used with fewer than 8 lanes. */
    private static final VectorSpecies<Byte> B =
            L < 8 ? ByteVector.SPECIES_64 : VectorSpecies.of(byte.class, VectorShape.forBitSize(L * 8));

    private static final VectorSpecies<Byte> SIXTEEN = ByteVector.SPECIES_128;
    private static final VectorSpecies<Byte> THIRTY_TWO = ByteVector.SPECIES_256;
    private static final VectorSpecies<Byte> SIXTY_FOUR = ByteVector.SPECIES_512;
    /** Bytes of the widest register; wider species are slow. */
    private static final int WIDEST = ByteVector.SPECIES_PREFERRED.length();

    private static final int ROW_SHIFT = 42;

    private final RowMap rows = new RowMap();
    /** For each register of a row of heads, how far behind the first head its elements stand. */
    private int[] offsets = new int[0];
    /** And how many heads' rows. */
    private int[] headRows = new int[0];

    private final GeluTail tail = new GeluTail(L);
    /** The largest score of each row of a window. */
    private float[] highest = new float[0];

    /** Whether an operand is bytes, written in runs of so many. */
    static boolean write(Operand operand, int run) {
        return L >= 8 && operand.integer && !operand.wide && run >= L;
    }

    /** Whether heads are whole registers, and so split and joined register by register. */
    static boolean split(int headWidth) {
        return L >= 8 && headWidth % L == 0;
    }

    /** {@link Pointwise#requantize} for rows of a register at least. */
    static void requantize(MemorySegment raw, int rows, Requantization requantization, MemorySegment out) {
        int columns = requantization.columns();
        long sums = NativeMemory.address(raw, 4L * rows * columns);
        long scale = NativeMemory.address(requantization.scale(), 4L * columns);
        long offset = NativeMemory.address(requantization.offset(), 4L * columns);
        int stride = requantization.stride();
        long codes = NativeMemory.target(out, rows == 0 ? 0 : (rows - 1L) * stride + columns);
        int last = columns - L;
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            long to = codes + (long) r * stride;
            for (int c = 0; c < columns; c += L) {
                int at = Math.min(c, last);
                FloatVector steps = FloatRow.value(sums, base + at, scale, offset, at);
                IntVector code = VectorMath.code(steps, 1f, Requantization.LOW, Requantization.HIGH, 0);
                ((ByteVector) code.castShape(B, 0)).intoMemorySegment(ALL, to + at, ORDER);
            }
        }
    }

    /** {@link Pointwise#addTo} for rows of whole registers. */
    static void addTo(MemorySegment raw, int rows, Product product, MemorySegment residual, int stride) {
        int columns = product.columns();
        long sums = NativeMemory.address(raw, 4L * rows * columns);
        long scale = NativeMemory.address(product.scale(), 4L * columns);
        long offset = NativeMemory.address(product.offset(), 4L * columns);
        long stream = NativeMemory.target(residual, rows == 0 ? 0 : 4 * ((rows - 1L) * stride + columns));
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            long to = (long) r * stride;
            for (int c = 0; c < columns; c += L) {
                FloatVector x = FloatRow.value(sums, base + c, scale, offset, c);
                FloatRow.floats(stream, to + c).add(x).intoMemorySegment(ALL, stream + 4 * (to + c), ORDER);
            }
        }
    }

    /** {@link Pointwise#gelu(MemorySegment, int, int, int, Operand, MemorySegment, int, int)} for whole registers of columns, or one row of a register at least. */
    void gelu(
            MemorySegment values,
            int valueStride,
            int rows,
            int columns,
            Operand operand,
            MemorySegment out,
            int first,
            int stride) {
        float steps = operand.inverseScale;
        int low = (int) operand.steps.low;
        int high = (int) operand.steps.high;
        long in = NativeMemory.address(values, rows == 0 ? 0 : 4L * ((rows - 1L) * valueStride + columns));
        long codes = NativeMemory.target(out, rows == 0 ? 0 : (rows - 1L) * stride + first + columns) + first;
        int count = rows * columns;
        int last = count - L;
        // One loop for all rows: in a loop for each HotSpot made objects of registers. A row is the quotient, by a
        // multiplication that is exact below 2^42 / columns.
        long perColumn = (1L << ROW_SHIFT) / columns + 1;
        long gap = (long) stride - columns;
        long valueGap = (long) valueStride - columns;
        // VectorMath.geluSteps, which compiled by itself would be too large to be inlined.
        tail.scale(operand);
        int[] tails = tail.registers;
        IntVector t0 = IntVector.fromArray(I, tails, 0);
        IntVector t1 = IntVector.fromArray(I, tails, L);
        IntVector t2 = IntVector.fromArray(I, tails, 2 * L);
        IntVector t3 = IntVector.fromArray(I, tails, 3 * L);
        IntVector t4 = IntVector.fromArray(I, tails, 4 * L);
        IntVector t5 = IntVector.fromArray(I, tails, 5 * L);
        FloatVector perUnit = FloatVector.broadcast(F, ScalarMath.TAIL_PIECES);
        FloatVector round = FloatVector.broadcast(F, ScalarMath.ROUND);
        FloatVector scale = FloatVector.broadcast(F, steps);
        for (int i = 0; i < count; i += L) {
            int at = Math.min(i, last);
            long row = (at * perColumn) >>> ROW_SHIFT;
            FloatVector x = FloatRow.floats(in, at + valueGap * row);
            FloatVector end =
                    x.abs().reinterpretAsInts().min(VectorMath.TAIL_END_BITS).reinterpretAsFloats();
            IntVector piece = end.fma(perUnit, round).reinterpretAsInts();
            FloatVector p = piece.selectFrom(t5).reinterpretAsFloats();
            p = p.fma(end, piece.selectFrom(t4).reinterpretAsFloats());
            p = p.fma(end, piece.selectFrom(t3).reinterpretAsFloats());
            p = p.fma(end, piece.selectFrom(t2).reinterpretAsFloats());
            p = p.fma(end, piece.selectFrom(t1).reinterpretAsFloats());
            p = p.fma(end, piece.selectFrom(t0).reinterpretAsFloats());
            FloatVector positive = x.reinterpretAsInts().max(0).reinterpretAsFloats();
            IntVector code = VectorMath.stepBits(positive.fma(scale, p), low, high);
            ((ByteVector) code.castShape(B, 0)).intoMemorySegment(ALL, codes + at + gap * row, ORDER);
        }
        for (int r = 0; operand.levels != null && r < rows; r++) {
            LevelTable.replace(operand, out, (long) r * stride + first, columns);
        }
    }

    /** {@link Pointwise#softmaxNumerators} of int32 scores. */
    static void softmaxNumerators(
            MemorySegment raw,
            int rows,
            int columns,
            int stride,
            float scale,
            Operand operand,
            MemorySegment out,
            MemorySegment factors) {
        float steps = operand.inverseScale;
        int high = (int) operand.high;
        int end = Float.floatToRawIntBits(ScalarMath.DECAY_END / scale);
        FloatVector exponents = FloatVector.broadcast(F, scale * -ScalarMath.LOG2_E);
        long scores = NativeMemory.address(raw, 4L * rows * stride);
        long codes = NativeMemory.target(out, (long) rows * stride);
        long ones = NativeMemory.target(factors, 4L * rows);
        if (rows == 0) {
            return;
        }
        int last = columns - L;
        ByteVector zero = ByteVector.zero(B);
        IntVector most = IntVector.broadcast(I, Integer.MIN_VALUE);
        for (int c = 0; c < columns; c += L) {
            most = most.max(IntVector.fromMemorySegment(I, ALL, scores + 4L * Math.min(c, last), ORDER));
        }
        int highest = most.reduceLanes(VectorOperators.MAX);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * stride;
            // The next row's maximum is found along with this row's codes, which then need not wait for it.
            long next = base + (r + 1 < rows ? stride : 0);
            most = IntVector.broadcast(I, Integer.MIN_VALUE);
            FloatVector largest = FloatVector.broadcast(F, (float) highest);
            IntVector sum = IntVector.zero(I);
            IntVector code = sum;
            int overlap = 0;
            for (int c = columns; c < stride; c += L) {
                zero.intoMemorySegment(ALL, codes + base + Math.min(c, stride - L), ORDER);
            }
            for (int c = 0; c < columns; c += L) {
                int at = Math.min(c, last);
                most = most.max(IntVector.fromMemorySegment(I, ALL, scores + 4 * (next + at), ORDER));
                FloatVector below = largest.sub(FloatRow.integers(scores, base + at));
                code = VectorMath.numeratorBits(VectorMath.decay(below, end, exponents, steps), high);
                sum = sum.add(code);
                overlap = c - at;
                ((ByteVector) code.castShape(B, 0)).intoMemorySegment(ALL, codes + base + at, ORDER);
            }
            sum = sum.sub(code, LANE.compare(VectorOperators.LT, overlap));
            // Modulo 2^32, as lanes are.
            int total = sum.reduceLanes(VectorOperators.ADD) - columns * VectorMath.ROUND_BITS;
            highest = most.reduceLanes(VectorOperators.MAX);
            ALL.set(JAVA_FLOAT, ones + 4L * r, 1f / Math.max(total, 1));
        }
        replaceLevels(operand, out, rows, columns, stride, ones);
    }

    /**
     * Puts levels where the operand has some, and factors that make them sum to one. Not row by row in the loops: they would call what is not inlined, and no
     * register keeps a constant across a call.
     */
    private static void replaceLevels(
            Operand operand, MemorySegment out, int rows, int columns, int stride, long factors) {
        if (operand.levels == null) {
            return;
        }
        for (int r = 0; r < rows; r++) {
            long base = (long) r * stride;
            LevelTable.replace(operand, out, base, columns);
            ALL.set(JAVA_FLOAT, factors + 4L * r, 1f / VectorPointwise.sumOfCodes(out, base, columns, operand));
        }
    }

    /**
     * {@link Pointwise#softmaxWindows}, its numerators, of int32 scores. A window's largest scores are all found first: a row of few registers would wait for
     * its own.
     *
     * @param window room for the scores of a window
     */
    void softmaxWindows(
            MemorySegment raw,
            WindowShape shape,
            float scale,
            ScoreBias bias,
            Operand operand,
            MemorySegment out,
            MemorySegment factors,
            float[] window) {
        int n = shape.windowTokens();
        if (highest.length < n) {
            highest = new float[n];
        }
        float[] largest = highest;
        int products = shape.endProduct() - shape.firstProduct();
        long scores = NativeMemory.address(raw, 4L * products * n * n);
        long codes = NativeMemory.target(out, (long) products * n * n);
        long ones = NativeMemory.target(factors, 4L * products * n);
        long relative = NativeMemory.address(bias.relative(), 4L * shape.heads() * n * n);
        long mask = NativeMemory.address(bias.mask(), bias.isMasked() ? 4L * shape.windows() * n * n : 0);
        FloatVector step = FloatVector.broadcast(F, scale);
        float steps = operand.inverseScale;
        int high = (int) operand.high;
        int end = Float.floatToRawIntBits(ScalarMath.DECAY_END);
        FloatVector exponents = FloatVector.broadcast(F, -ScalarMath.LOG2_E);
        int last = n - L;
        for (int b = shape.firstProduct(); b < shape.endProduct(); b++) {
            int place = b / shape.heads() % shape.windows();
            boolean masked = bias.masked()[place];
            long base = (long) (b - shape.firstProduct()) * n * n;
            long pairs = (long) (b % shape.heads()) * n * n;
            long hidden = (long) place * n * n;
            long row = ones + 4L * n * (b - shape.firstProduct());
            for (int r = 0; r < n; r++) {
                int from = r * n;
                FloatVector most = FloatVector.broadcast(F, Float.NEGATIVE_INFINITY);
                for (int c = 0; c < n; c += L) {
                    int at = from + Math.min(c, last);
                    FloatVector x =
                            FloatRow.integers(scores, base + at).fma(step, FloatRow.floats(relative, pairs + at));
                    if (masked) {
                        x = x.add(FloatRow.floats(mask, hidden + at));
                    }
                    x.intoArray(window, at);
                    most = most.blend(x, x.compare(VectorOperators.GT, most));
                }
                largest[r] = VectorMath.highest(most);
            }
            for (int r = 0; r < n; r++) {
                int from = r * n;
                FloatVector most = FloatVector.broadcast(F, largest[r]);
                IntVector sum = IntVector.zero(I);
                IntVector code = sum;
                int overlap = 0;
                for (int c = 0; c < n; c += L) {
                    int at = Math.min(c, last);
                    FloatVector below = most.sub(FloatVector.fromArray(F, window, from + at));
                    code = VectorMath.numeratorBits(VectorMath.decay(below, end, exponents, steps), high);
                    sum = sum.add(code);
                    overlap = c - at;
                    ((ByteVector) code.castShape(B, 0)).intoMemorySegment(ALL, codes + base + from + at, ORDER);
                }
                sum = sum.sub(code, LANE.compare(VectorOperators.LT, overlap));
                int total = sum.reduceLanes(VectorOperators.ADD) - n * VectorMath.ROUND_BITS;
                ALL.set(JAVA_FLOAT, row + 4L * r, 1f / Math.max(total, 1));
            }
        }
        replaceLevels(operand, out, products * n, n, n, ones);
    }

    /** {@link Pointwise#splitHeads} for products of integers and operands that are bytes. */
    void splitHeads(
            MemorySegment raw,
            AttentionShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        rows.fill(shape, shape.rows());
        splitPart(raw, 0, shape.heads(), shape.headWidth(), product, operands.query(), query);
        rows.fill(shape, shape.tokens());
        splitPart(raw, 1, shape.heads(), shape.headWidth(), product, operands.key(), key);
        splitPart(raw, 2, shape.heads(), shape.headWidth(), product, operands.value(), value);
    }

    /** {@link Pointwise#splitWindows} but for padding, for products of integers and operands that are bytes. */
    void splitWindows(
            MemorySegment raw,
            WindowShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        rows.fill(shape);
        splitPart(raw, 0, shape.heads(), shape.headWidth(), product, operands.query(), query);
        splitPart(raw, 1, shape.heads(), shape.headWidth(), product, operands.key(), key);
        splitPart(raw, 2, shape.heads(), shape.headWidth(), product, operands.value(), value);
    }

    /** {@link Pointwise#splitHeads} of codes. */
    void splitHeads(
            MemorySegment codes, AttentionShape shape, MemorySegment query, MemorySegment key, MemorySegment value) {
        rows.fill(shape, shape.rows());
        copyPart(codes, 0, shape.heads(), shape.headWidth(), query);
        rows.fill(shape, shape.tokens());
        copyPart(codes, 1, shape.heads(), shape.headWidth(), key);
        copyPart(codes, 2, shape.heads(), shape.headWidth(), value);
    }

    /** {@link Pointwise#splitWindowCodes} but for padding. */
    void splitWindows(
            MemorySegment codes, WindowShape shape, MemorySegment query, MemorySegment key, MemorySegment value) {
        rows.fill(shape);
        copyPart(codes, 0, shape.heads(), shape.headWidth(), query);
        copyPart(codes, 1, shape.heads(), shape.headWidth(), key);
        copyPart(codes, 2, shape.heads(), shape.headWidth(), value);
    }

    /** Codes of queries, keys or values, as many at a time as a head has: each access costs more than what it moves. */
    private void copyPart(MemorySegment codes, int part, int heads, int headWidth, MemorySegment out) {
        int[] tokens = rows.token;
        int[] firstHeads = rows.head;
        long step = (long) rows.headStep * headWidth;
        int width = heads * headWidth;
        long in = NativeMemory.address(codes, 3L * rows.tokens * width) + (long) part * width;
        long parts = NativeMemory.target(out, rows.headRows(heads) * headWidth);
        for (int r = 0; r < rows.count; r++) {
            long from = in + 3L * tokens[r] * width;
            long to = parts + (long) firstHeads[r] * headWidth;
            for (int head = 0; head < heads; head++) {
                int c = 0;
                for (; WIDEST >= 64 && c + 64 <= headWidth; c += 64) {
                    ByteVector.fromMemorySegment(SIXTY_FOUR, ALL, from + c, ORDER)
                            .intoMemorySegment(ALL, to + c, ORDER);
                }
                for (; WIDEST >= 32 && c + 32 <= headWidth; c += 32) {
                    ByteVector.fromMemorySegment(THIRTY_TWO, ALL, from + c, ORDER)
                            .intoMemorySegment(ALL, to + c, ORDER);
                }
                for (; c + 16 <= headWidth; c += 16) {
                    ByteVector.fromMemorySegment(SIXTEEN, ALL, from + c, ORDER).intoMemorySegment(ALL, to + c, ORDER);
                }
                for (; c < headWidth; c++) {
                    ALL.set(JAVA_BYTE, to + c, ALL.get(JAVA_BYTE, from + c));
                }
                from += headWidth;
                to += step;
            }
        }
    }

    /** Queries, keys or values: part 0, 1 or 2. */
    private void splitPart(
            MemorySegment raw,
            int part,
            int heads,
            int headWidth,
            Product product,
            Operand operand,
            MemorySegment out) {
        placeRegisters(heads, headWidth);
        int[] tokens = rows.token;
        int[] firstHeads = rows.head;
        int[] behind = offsets;
        int width = heads * headWidth;
        long sums = NativeMemory.address(raw, 4L * rows.tokens * 3 * width);
        long scale = NativeMemory.address(product.scale(), 4L * 3 * width);
        long offset = NativeMemory.address(product.offset(), 4L * 3 * width);
        long codes = NativeMemory.target(out, rows.headRows(heads) * headWidth);
        float steps = operand.inverseScale;
        int low = (int) operand.low;
        int high = (int) operand.high;
        int zero = operand.zeroPoint;
        int registers = width / L;
        for (int r = 0; r < rows.count; r++) {
            long from = 3L * tokens[r] * width;
            long to = (long) firstHeads[r] * headWidth;
            for (int v = 0; v < registers; v++) {
                int column = part * width + v * L;
                FloatVector x = FloatRow.value(sums, from + column, scale, offset, column);
                IntVector code = VectorMath.code(x, steps, low, high, zero);
                ((ByteVector) code.castShape(B, 0)).intoMemorySegment(ALL, codes + to + behind[v], ORDER);
            }
            if (operand.levels != null) {
                for (int v = 0; v < registers; v += headWidth / L) {
                    LevelTable.replace(operand, out, to + behind[v], headWidth);
                }
            }
        }
    }

    private void placeRegisters(int heads, int headWidth) {
        int registers = heads * headWidth / L;
        if (offsets.length < registers) {
            offsets = new int[registers];
            headRows = new int[registers];
        }
        for (int v = 0; v < registers; v++) {
            headRows[v] = v * L / headWidth * rows.headStep;
            offsets[v] = headRows[v] * headWidth + v * L % headWidth;
        }
    }

    /** {@link Pointwise#mergeHeads} of int32 values and, with factors, {@link Pointwise#mergeNormalizedHeads}. */
    void mergeHeads(
            MemorySegment raw,
            AttentionShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        rows.fill(shape, shape.rows());
        merge(raw, shape.heads(), shape.headWidth(), scale, factors, operand, out);
    }

    /** {@link Pointwise#mergeWindows} of int32 values. */
    void mergeWindows(
            MemorySegment raw,
            WindowShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        rows.fill(shape);
        merge(raw, shape.heads(), shape.headWidth(), scale, factors, operand, out);
    }

    private void merge(
            MemorySegment raw,
            int heads,
            int headWidth,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        placeRegisters(heads, headWidth);
        int[] tokens = rows.token;
        int[] firstHeads = rows.head;
        int[] behind = offsets;
        int[] rowsBehind = headRows;
        int width = heads * headWidth;
        boolean normalized = !factors.equals(MemorySegment.NULL);
        long sums = NativeMemory.address(raw, 4L * rows.headRows(heads) * headWidth);
        long ones = NativeMemory.address(factors, normalized ? 4L * rows.headRows(heads) : 0);
        int stride = operand.stride(width);
        long codes = NativeMemory.target(out, rows.tokens == 0 ? 0 : (rows.tokens - 1L) * stride + width);
        float steps = operand.inverseScale;
        int low = (int) operand.low;
        int high = (int) operand.high;
        int zero = operand.zeroPoint;
        int registers = width / L;
        for (int r = 0; r < rows.count; r++) {
            long first = firstHeads[r];
            long from = first * headWidth;
            long to = (long) tokens[r] * stride;
            for (int v = 0; v < registers; v++) {
                float step = normalized ? ALL.get(JAVA_FLOAT, ones + 4 * (first + rowsBehind[v])) * scale : scale;
                FloatVector x = FloatRow.integers(sums, from + behind[v]).mul(step);
                IntVector code = VectorMath.code(x, steps, low, high, zero);
                ((ByteVector) code.castShape(B, 0)).intoMemorySegment(ALL, codes + to + (long) v * L, ORDER);
            }
            LevelTable.replace(operand, out, to, width);
        }
    }
}
