package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * {@link Pointwise} with the Vector API, bit for bit equal to {@link ReferencePointwise} on finite values: every lane performs the reference's
 * sequence of operations, and sums follow its 16 striped lanes with one, two or four registers. Row by row a {@link FloatRow}
 * takes values in, changes them and writes them out.
 */
final class VectorPointwise implements Pointwise {
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    private static final int L = I.length();

    /** Values that {@link #encode} takes at a time where rows do not matter. */
    private static final int CHUNK = 1024;

    /** Registers hold 4, 8 or 16 floats; other widths (SVE) would break the striping. */
    static final boolean SUPPORTED = L == 4 || L == 8 || L == 16;

    private static final VectorSpecies<Byte> B =
            L < 8 ? ByteVector.SPECIES_64 : VectorSpecies.of(byte.class, VectorShape.forBitSize(L * 8));

    /** @throws UnsupportedOperationException if the machine's registers cannot follow the reference's order of sums */
    static void requireSupported() {
        if (!SUPPORTED) {
            throw new UnsupportedOperationException("vector registers of " + L + " floats");
        }
    }

    private final FloatRow row = new FloatRow();
    private final IntegerPasses integers = new IntegerPasses();
    private final ReferencePointwise scalar = new ReferencePointwise();
    private final LayerNormPass layerNorm = new LayerNormPass();

    @Override
    public void encode(MemorySegment x, int count, Operand operand, MemorySegment out) {
        float[] factor = operand.factor;
        float[] offset = operand.offset;
        int step = factor == null ? CHUNK : factor.length;
        row.reserve(step);
        for (int base = 0; base < count; base += step) {
            int n = Math.min(step, count - base);
            row.load(x, base, n);
            if (factor != null && offset != null) {
                row.equalize(factor, offset);
            }
            row.encode(0, n, 1f, operand, out, base);
        }
    }

    @Override
    public void layerNorm(
            MemorySegment x,
            int stride,
            int rows,
            int width,
            MemorySegment gamma,
            MemorySegment beta,
            float epsilon,
            Operand operand,
            MemorySegment out) {
        if (LayerNormPass.takes(width, operand)) {
            layerNorm.run(x, stride, rows, width, gamma, beta, epsilon, operand, out);
            return;
        }
        row.reserve(width);
        for (int r = 0; r < rows; r++) {
            row.load(x, (long) r * stride, width);
            float mean = row.sum(width) / width;
            float inverse = ReferencePointwise.inverseDeviation(row.squares(width, mean), width, epsilon);
            row.normalize(width, mean, inverse, gamma, beta);
            row.encode(0, width, 1f, operand, out, (long) r * operand.stride(width));
        }
    }

    @Override
    public void decode(MemorySegment raw, int rows, Product product, MemorySegment out) {
        int columns = product.columns();
        row.reserve(columns);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            row.loadValues(raw, base, product);
            row.encode(0, columns, 1f, Operand.FLOAT, out, base);
        }
    }

    @Override
    public void addTo(MemorySegment raw, int rows, Product product, MemorySegment residual, int stride) {
        int columns = product.columns();
        if (product.integer() && columns % L == 0) {
            IntegerPasses.addTo(raw, rows, product, residual, stride);
            return;
        }
        row.reserve(columns);
        for (int r = 0; r < rows; r++) {
            row.loadValues(raw, (long) r * columns, product);
            row.addTo(residual, (long) r * stride, columns);
        }
    }

    @Override
    public void gelu(MemorySegment raw, int rows, Product product, Operand operand, MemorySegment out) {
        int columns = product.columns();
        row.reserve(columns);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * columns;
            row.loadValues(raw, base, product);
            geluRow(columns, operand, out, (long) r * operand.stride(columns));
        }
    }

    @Override
    public void gelu(
            MemorySegment values,
            int valueStride,
            int rows,
            int columns,
            Operand operand,
            MemorySegment out,
            int first,
            int stride) {
        if (IntegerPasses.write(operand, columns) && (rows == 1 || columns % L == 0)) {
            integers.gelu(values, valueStride, rows, columns, operand, out, first, stride);
            return;
        }
        row.reserve(CHUNK);
        for (int r = 0; r < rows; r++) {
            long to = (long) r * stride + first;
            for (int base = 0; base < columns; base += CHUNK) {
                int n = Math.min(CHUNK, columns - base);
                row.load(values, (long) r * valueStride + base, n);
                geluRow(n, operand, out, to + base);
            }
        }
    }

    /** Writes GELU of {@link #row}, which is overwritten. */
    private void geluRow(int count, Operand operand, MemorySegment out, long base) {
        if (operand.isByte()) {
            row.geluSteps(count, operand);
            row.encode(0, count, 1f, operand.steps, out, base);
        } else {
            row.gelu(count);
            row.encode(0, count, 1f, operand, out, base);
        }
    }

    @Override
    public void requantize(MemorySegment raw, int rows, Requantization requantization, MemorySegment out) {
        if (L >= 8 && requantization.columns() >= L) {
            IntegerPasses.requantize(raw, rows, requantization, out);
        } else {
            scalar.requantize(raw, rows, requantization, out);
        }
    }

    @Override
    public void splitHeads(
            MemorySegment codes, AttentionShape shape, MemorySegment query, MemorySegment key, MemorySegment value) {
        integers.splitHeads(codes, shape, query, key, value);
    }

    @Override
    public void splitWindowCodes(
            MemorySegment codes,
            WindowShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        integers.splitWindows(codes, shape, query, key, value);
        splitPadding(shape, product, operands, query, key, value);
    }

    @Override
    public void splitHeads(
            MemorySegment raw,
            AttentionShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        int width = shape.width();
        int headWidth = shape.headWidth();
        if (isIntegerSplit(product, operands, headWidth)) {
            integers.splitHeads(raw, shape, product, operands, query, key, value);
            return;
        }
        row.reserve(3 * width);
        for (int r = 0; r < shape.images() * shape.rows(); r++) {
            row.loadValues(raw, 3L * r * width, product);
            for (int head = 0; head < shape.heads(); head++) {
                long from = shape.headRow(r, head);
                long to = shape.keyRow(r, head);
                splitHead(head * headWidth, width, from, to, headWidth, operands, query, key, value);
            }
        }
    }

    private static boolean isIntegerSplit(Product product, AttentionOperands operands, int headWidth) {
        return product.integer()
                && IntegerPasses.split(headWidth)
                && IntegerPasses.write(operands.query(), headWidth)
                && IntegerPasses.write(operands.key(), headWidth)
                && IntegerPasses.write(operands.value(), headWidth);
    }

    /** Writes one head of the queries, keys and values that {@link #row} holds. */
    private void splitHead(
            int column,
            int width,
            long queryRow,
            long keyRow,
            int headWidth,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        long to = keyRow * headWidth;
        row.encode(column, headWidth, 1f, operands.query(), query, queryRow * headWidth);
        row.encode(width + column, headWidth, 1f, operands.key(), key, to);
        row.encode(2 * width + column, headWidth, 1f, operands.value(), value, to);
    }

    @Override
    public void softmax(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            int stride,
            float scale,
            Operand operand,
            MemorySegment out) {
        row.reserve(columns);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * stride;
            row.loadScaled(raw, integer, base, scale, 0, columns);
            probabilities(columns, operand, out, base);
            ReferencePointwise.clear(operand, out, base + columns, base + stride);
        }
    }

    @Override
    public void softmaxNumerators(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            int stride,
            float scale,
            Operand operand,
            MemorySegment out,
            MemorySegment factors) {
        if (integer && IntegerPasses.write(operand, columns)) {
            IntegerPasses.softmaxNumerators(raw, rows, columns, stride, scale, operand, out, factors);
            return;
        }
        row.reserve(columns);
        for (int r = 0; r < rows; r++) {
            long base = (long) r * stride;
            // The short form of exp scales by itself.
            row.loadScaled(raw, integer, base, operand.isByte() ? 1f : scale, 0, columns);
            numerators(columns, scale, operand, out, base, factors, r);
            ReferencePointwise.clear(operand, out, base + columns, base + stride);
        }
    }

    /**
     * Writes the softmax of {@link #row}. Not together with the numerators: where a process computes both, HotSpot, which inlines all of it in the loop over
     * rows, came to the most nodes of a method and made objects of registers.
     */
    private void probabilities(int columns, Operand operand, MemorySegment out, long base) {
        row.exponentials(columns, row.highest(columns));
        row.encode(0, columns, 1f / row.sum(columns), operand, out, base);
    }

    /**
     * Writes the numerators of {@link #row} and their factor.
     *
     * @param scale for numerators that become bytes; others have been scaled
     * @param at where the factor goes
     */
    private void numerators(
            int columns, float scale, Operand operand, MemorySegment out, long base, MemorySegment factors, long at) {
        float highest = row.highest(columns);
        if (operand.isByte()) {
            row.decaySteps(columns, highest, scale, operand.inverseScale);
            row.encode(0, columns, 1f, operand.steps, out, base);
        } else {
            row.exponentials(columns, highest);
            row.encode(0, columns, 1f, operand, out, base);
        }
        factors.setAtIndex(JAVA_FLOAT, at, 1f / sumOfCodes(out, base, columns, operand));
    }

    static float sumOfCodes(MemorySegment codes, long from, int count, Operand operand) {
        if (operand.wide) {
            int sum = 0;
            for (long i = from; i < from + count; i++) {
                sum += codes.getAtIndex(JAVA_SHORT, i);
            }
            return Math.max(sum, 1);
        }
        int whole = L < 8 ? 0 : count - count % L;
        long address = NativeMemory.address(codes, from, count);
        IntVector sums = IntVector.zero(I);
        for (int i = 0; i < whole; i += L) {
            ByteVector bytes = ByteVector.fromMemorySegment(B, NativeMemory.ALL, address + i, NativeMemory.ORDER);
            sums = sums.add(bytes.convertShape(VectorOperators.ZERO_EXTEND_B2I, I, 0));
        }
        int sum = sums.reduceLanes(VectorOperators.ADD);
        for (long i = from + whole; i < from + count; i++) {
            sum += codes.get(JAVA_BYTE, i) & 0xff;
        }
        return Math.max(sum, 1);
    }

    @Override
    public void mergeNormalizedHeads(
            MemorySegment raw,
            AttentionShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        mergeHeads(raw, true, shape, scale, factors, operand, out);
    }

    @Override
    public void mergeHeads(
            MemorySegment raw, boolean integer, AttentionShape shape, float scale, Operand operand, MemorySegment out) {
        mergeHeads(raw, integer, shape, scale, MemorySegment.NULL, operand, out);
    }

    private void mergeHeads(
            MemorySegment raw,
            boolean integer,
            AttentionShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        int headWidth = shape.headWidth();
        if (integer && IntegerPasses.split(headWidth) && IntegerPasses.write(operand, headWidth)) {
            integers.mergeHeads(raw, shape, scale, factors, operand, out);
            return;
        }
        row.reserve(shape.width());
        for (int r = 0; r < shape.images() * shape.rows(); r++) {
            for (int head = 0; head < shape.heads(); head++) {
                mergeHead(raw, integer, head, shape.headRow(r, head), headWidth, scale, factors);
            }
            row.encode(0, shape.width(), 1f, operand, out, (long) r * operand.stride(shape.width()));
        }
    }

    /** Brings one head of a token into {@link #row}. */
    private void mergeHead(
            MemorySegment raw,
            boolean integer,
            int head,
            long headRow,
            int headWidth,
            float scale,
            MemorySegment factors) {
        float step = ReferencePointwise.step(scale, factors, headRow);
        row.loadScaled(raw, integer, headRow * headWidth, step, head * headWidth, headWidth);
    }

    @Override
    public void splitWindows(
            MemorySegment raw,
            WindowShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        int width = shape.width();
        int headWidth = shape.headWidth();
        if (isIntegerSplit(product, operands, headWidth)) {
            integers.splitWindows(raw, shape, product, operands, query, key, value);
            splitPadding(shape, product, operands, query, key, value);
            return;
        }
        row.reserve(3 * width);
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                if (!shape.has(token)) {
                    continue;
                }
                if (token < 0) {
                    row.load(product.bias(), 0, 3 * width);
                } else {
                    row.loadValues(raw, shape.row(image, token) * 3 * width, product);
                }
                for (int head = 0; head < shape.heads(); head++) {
                    long headRow = shape.headRow(image, i, head);
                    splitHead(head * headWidth, width, headRow, headRow, headWidth, operands, query, key, value);
                }
            }
        }
    }

    private void splitPadding(
            WindowShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value) {
        int width = shape.width();
        row.reserve(3 * width);
        row.load(product.bias(), 0, 3 * width);
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                for (int head = 0; token < 0 && shape.has(token) && head < shape.heads(); head++) {
                    long to = shape.headRow(image, i, head);
                    splitHead(head * shape.headWidth(), width, to, to, shape.headWidth(), operands, query, key, value);
                }
            }
        }
    }

    @Override
    public void softmaxWindows(
            MemorySegment raw,
            boolean integer,
            WindowShape shape,
            float scale,
            ScoreBias bias,
            Operand operand,
            MemorySegment out,
            MemorySegment factors) {
        int n = shape.windowTokens();
        boolean numerators = !factors.equals(MemorySegment.NULL);
        if (integer && numerators && IntegerPasses.write(operand, n)) {
            row.reserve(n * n);
            integers.softmaxWindows(raw, shape, scale, bias, operand, out, factors, row.values());
            return;
        }
        row.reserve(n);
        for (int b = shape.firstProduct(); b < shape.endProduct(); b++) {
            int head = b % shape.heads();
            int window = b / shape.heads() % shape.windows();
            boolean masked = bias.masked()[window];
            for (int r = 0; r < n; r++) {
                long base = ((long) (b - shape.firstProduct()) * n + r) * n;
                row.loadBiased(raw, integer, base, scale, bias.relative(), ((long) head * n + r) * n, n);
                if (masked) {
                    row.add(bias.mask(), ((long) window * n + r) * n, n);
                }
                if (numerators) {
                    numerators(n, 1f, operand, out, base, factors, base / n);
                } else {
                    probabilities(n, operand, out, base);
                }
            }
        }
    }

    @Override
    public void mergeWindows(
            MemorySegment raw,
            boolean integer,
            WindowShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out) {
        int width = shape.width();
        if (integer && IntegerPasses.split(shape.headWidth()) && IntegerPasses.write(operand, shape.headWidth())) {
            integers.mergeWindows(raw, shape, scale, factors, operand, out);
            return;
        }
        row.reserve(width);
        for (int image = 0; image < shape.images(); image++) {
            for (int i = 0; i < shape.source().length; i++) {
                int token = shape.source()[i];
                if (token < 0 || !shape.has(token)) {
                    continue;
                }
                for (int head = 0; head < shape.heads(); head++) {
                    mergeHead(raw, integer, head, shape.headRow(image, i, head), shape.headWidth(), scale, factors);
                }
                row.encode(0, width, 1f, operand, out, shape.row(image, token) * operand.stride(width));
            }
        }
    }

    @Override
    public void meanRows(MemorySegment x, int stride, int rows, int width, MemorySegment out) {
        row.reserve(width);
        row.clear(width);
        for (int r = 0; r < rows; r++) {
            row.add(x, (long) r * stride, width);
        }
        row.divide(width, rows);
        row.encode(0, width, 1f, Operand.FLOAT, out, 0);
    }
}
