package dev.trivet.kernel;

import static dev.trivet.kernel.NativeMemory.ALL;
import static dev.trivet.kernel.NativeMemory.ORDER;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Exact products of bytes by a product that adds pairs of neighbouring terms in saturating 16 bits, as x86 has them before VNNI
 * ({@code vpmaddubsw}): codes are cut to a window that cannot saturate, and the few outside it are made up for.
 *
 * <p>Let S be the most that two neighbouring weights of an output add up to, positive or negative ones apart. With codes of at most
 * {@code T = 32767 / S} no pair leaves 16 bits; S is at most 256, so T is at least 127. It is 255, and nothing has to be done, for weights
 * of 7 bits and less. Of the codes {@code a} most are in some window {@code b .. b + T}, because ranges reach to where few values are:
 *
 * <pre>a = b + t + o, t = clamp(a - b, 0, T)
 * sum a w = sum t w + b sum w + sum o w</pre>
 *
 * The first sum is the saturating product, the second is b times what is known, and the third has terms for codes outside the window only, each of
 * which costs several times what it costs in the product. The window is where most of a sample of the codes are, anew for each run; it decides on
 * the speed and not on the result. Where more than {@value #MOST_OUTSIDE} are outside of any window (noise, patches of pixels),
 * {@code a = min(a, T) + max(a - T, 0)} makes two products that do not saturate.
 *
 * <p>Products of two activations are {@link FloatCodes} on such a CPU: with sums of columns and a transposed copy anew for each, windows gain
 * nothing there ({@code docs/decisions.md}, "Bytes on AVX2").
 */
final class WindowedLinear implements Linear {
    // Slots below 5 belong to DigitProducts, 8 to OnednnLinear (weights that are kept packed). FloatCodes has 5 to 7,
    // too, but
    // neither runs within the other.
    private static final int WINDOWED = 5;
    private static final int OUTSIDE = 6;
    private static final int HISTOGRAM = 7;
    private static final int SECOND = 9;
    private static final int SUM = 10;

    private static final int LEVELS = 256;
    private static final int SAMPLES = 1024;
    private static final double MOST_OUTSIDE = 0.12;
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_PREFERRED;
    private static final int L = I.length();
    private static final VectorSpecies<Byte> CODES = ByteVector.SPECIES_PREFERRED;
    private static final VectorSpecies<Short> S = ShortVector.SPECIES_PREFERRED;
    private static final int SHORTS = S.length();
    /** As many shorts as a register holds ints. */
    private static final VectorSpecies<Short> HALF = VectorSpecies.of(short.class, VectorShape.forBitSize(L * 16));
    /** As many bytes as a register holds shorts. */
    private static final VectorSpecies<Byte> WEIGHTS = VectorSpecies.of(byte.class, VectorShape.forBitSize(SHORTS * 8));

    /** What notes may cut together, so that weights times it stay in 16 bits. */
    private static final int MOST_CUT = Short.MAX_VALUE / 128;

    private final Linear product;
    private final int outputs;
    private final int inputs;
    /** The largest code that cannot saturate, T. */
    private final int most;

    private final Arena arena = Arena.ofShared();
    /** {@code [inputs, outputs]}. */
    private final MemorySegment transposed;
    /** int32 {@code [outputs]}. */
    private final MemorySegment sums;

    private WindowedLinear(Linear product, MemorySegment codes, int outputs, int inputs, int most) {
        this.product = product;
        this.outputs = outputs;
        this.inputs = inputs;
        this.most = most;
        transposed = arena.allocate((long) inputs * outputs, 64);
        sums = arena.allocate(4L * outputs, 64);
        byte[] row = new byte[inputs];
        for (int n = 0; n < outputs; n++) {
            MemorySegment.copy(codes, JAVA_BYTE, (long) n * inputs, row, 0, inputs);
            int sum = 0;
            for (int k = 0; k < inputs; k++) {
                sum += row[k];
                transposed.set(JAVA_BYTE, (long) k * outputs + n, row[k]);
            }
            sums.setAtIndex(JAVA_INT, n, sum);
        }
    }

    /**
     * A product that is exact for all codes; the given one where no code can saturate.
     *
     * @param product of the same weights, exact where no pair leaves 16 bits; closed with the result
     * @param codes signed bytes {@code [outputs, inputs]}
     */
    static Linear of(Linear product, MemorySegment codes, int outputs, int inputs) {
        byte[] row = new byte[inputs];
        int pair = 1;
        for (int n = 0; n < outputs; n++) {
            MemorySegment.copy(codes, JAVA_BYTE, (long) n * inputs, row, 0, inputs);
            pair = Math.max(pair, largestPair(row));
        }
        int most = Short.MAX_VALUE / pair;
        if (most >= LEVELS - 1) {
            return product;
        }
        try {
            return new WindowedLinear(product, codes, outputs, inputs, most);
        } catch (Throwable e) { // no memory for what it adds
            product.close();
            throw e;
        }
    }

    @Override
    public void run(Workspace workspace, MemorySegment in, int rows, MemorySegment out) {
        long count = (long) rows * inputs;
        long codes = NativeMemory.address(in, count);
        int bottom = bottom(workspace, codes, count);
        MemorySegment windowed = workspace.scratch(WINDOWED, count);
        long part = NativeMemory.target(windowed, count);
        window(codes, count, Math.max(bottom, 0), most, part);
        product.run(workspace, windowed, rows, out);
        long results = NativeMemory.target(out, 4L * rows * outputs);
        if (bottom < 0) {
            long all = (long) rows * outputs;
            MemorySegment second = workspace.scratch(SECOND, 4 * all);
            window(codes, count, most, LEVELS - 1, part);
            product.run(workspace, windowed, rows, second);
            addAll(NativeMemory.address(second, 4 * all), all, results);
            return;
        }
        long notes = NativeMemory.target(workspace.scratch(OUTSIDE, 4L * inputs), 4L * inputs);
        long sum = NativeMemory.target(workspace.scratch(SUM, 2L * outputs), 2L * outputs);
        correct(codes, part, rows, bottom, notes, sum, results);
    }

    /**
     * Adds to each row of sums what its window left out: {@code out += bottom * sums}, and, for every code that was cut, its weights times what was cut.
     *
     * <p>One method with the additions in its loop, and so too large to be inlined where the product is called: that call fills {@link #run} up to the
     * most nodes that HotSpot lets a method have, and what comes behind it would be left as calls that make objects of registers.
     *
     * @param notes room for those of a row
     * @param part room for int16 {@code [outputs]}
     */
    private void correct(long codes, long windowed, int rows, int bottom, long notes, long part, long out) {
        long weights = NativeMemory.address(transposed, (long) inputs * outputs);
        long known = NativeMemory.address(sums, 4L * outputs);
        for (int row = 0; row < rows; row++) {
            long from = (long) row * inputs;
            int found = outside(codes + from, windowed + from, bottom, notes);
            long to = out + 4L * row * outputs;
            int done = 0;
            int times = bottom;
            while (done < found || times > 0) {
                int end = group(notes, done, found);
                sumGroup(notes, done, end, weights, part);
                int n = 0;
                for (; L >= 8 && n + L <= outputs; n += L) {
                    IntVector more = (IntVector) ShortVector.fromMemorySegment(HALF, ALL, part + 2L * n, ORDER)
                            .convertShape(VectorOperators.S2I, I, 0);
                    more = more.add(integers(known + 4L * n).mul(times));
                    integers(to + 4L * n).add(more).intoMemorySegment(ALL, to + 4L * n, ORDER);
                }
                for (; n < outputs; n++) {
                    int more = ALL.get(JAVA_SHORT, part + 2L * n) + times * ALL.get(JAVA_INT, known + 4L * n);
                    ALL.set(JAVA_INT, to + 4L * n, ALL.get(JAVA_INT, to + 4L * n) + more);
                }
                done = end;
                times = 0;
            }
        }
    }

    private static int largestPair(byte[] row) {
        int largest = 0;
        for (int k = 0; k < row.length; k += 2) {
            int a = row[k];
            int b = k + 1 < row.length ? row[k + 1] : 0;
            largest = Math.max(largest, Math.max(a, 0) + Math.max(b, 0));
            largest = Math.max(largest, -Math.min(a, 0) - Math.min(b, 0));
        }
        return largest;
    }

    /**
     * Where the window begins that holds most of a sample of the codes; the lowest of several.
     *
     * @return -1 if too many codes are outside
     */
    private int bottom(Workspace workspace, long in, long codes) {
        MemorySegment histogram = workspace.scratch(HISTOGRAM, 4L * LEVELS);
        for (int level = 0; level < LEVELS; level++) {
            histogram.setAtIndex(JAVA_INT, level, 0);
        }
        long distance = codes / SAMPLES + 1;
        while (commonFactor(distance, inputs)) {
            distance++; // so that all channels have their turn
        }
        int samples = 0;
        for (long i = 0; i < codes; i += distance) {
            int code = ALL.get(JAVA_BYTE, in + i) & 0xff;
            histogram.setAtIndex(JAVA_INT, code, histogram.getAtIndex(JAVA_INT, code) + 1);
            samples++;
        }
        int inside = 0;
        for (int level = 0; level <= most; level++) {
            inside += histogram.getAtIndex(JAVA_INT, level);
        }
        int best = inside;
        int bottom = 0;
        for (int first = 1; first + most < LEVELS; first++) {
            inside += histogram.getAtIndex(JAVA_INT, first + most) - histogram.getAtIndex(JAVA_INT, first - 1);
            if (inside > best) {
                best = inside;
                bottom = first;
            }
        }
        return samples - best > MOST_OUTSIDE * samples ? -1 : bottom;
    }

    private static boolean commonFactor(long a, long b) {
        while (b != 0) {
            long rest = a % b;
            a = b;
            b = rest;
        }
        return a > 1;
    }

    /** {@code out = clamp(in - bottom, 0, most)}, of memory at these addresses, like all below. */
    private static void window(long in, long count, int bottom, int most, long out) {
        long whole = count - count % CODES.length();
        byte low = (byte) bottom;
        byte high = (byte) most;
        for (long i = 0; i < whole; i += CODES.length()) {
            ByteVector.fromMemorySegment(CODES, ALL, in + i, ORDER)
                    .lanewise(VectorOperators.SUSUB, low)
                    .lanewise(VectorOperators.UMIN, high)
                    .intoMemorySegment(ALL, out + i, ORDER);
        }
        for (long i = whole; i < count; i++) {
            int code = (ALL.get(JAVA_BYTE, in + i) & 0xff) - bottom;
            ALL.set(JAVA_BYTE, out + i, (byte) Math.clamp(code, 0, most));
        }
    }

    /**
     * Finds the codes of a row that the window cut.
     *
     * @param notes int32, one for each: its input and what was cut, {@code input * 512 + 256 + cut}
     * @return how many there are
     */
    private int outside(long in, long windowed, int bottom, long notes) {
        int whole = inputs - inputs % CODES.length();
        int found = 0;
        byte low = (byte) bottom;
        for (int k = 0; k < whole; k += CODES.length()) {
            ByteVector all = ByteVector.fromMemorySegment(CODES, ALL, in + k, ORDER);
            ByteVector part = ByteVector.fromMemorySegment(CODES, ALL, windowed + k, ORDER);
            long bits = all.sub(low).compare(VectorOperators.NE, part).toLong();
            while (bits != 0) {
                int input = k + Long.numberOfTrailingZeros(bits);
                ALL.set(JAVA_INT, notes + 4L * found++, note(in, windowed, input, bottom));
                bits &= bits - 1;
            }
        }
        for (int k = whole; k < inputs; k++) {
            if ((byte) (ALL.get(JAVA_BYTE, in + k) - low) != ALL.get(JAVA_BYTE, windowed + k)) {
                ALL.set(JAVA_INT, notes + 4L * found++, note(in, windowed, k, bottom));
            }
        }
        return found;
    }

    private static int note(long in, long windowed, int input, int bottom) {
        int cut = (ALL.get(JAVA_BYTE, in + input) & 0xff) - bottom - (ALL.get(JAVA_BYTE, windowed + input) & 0xff);
        return input * 512 + 256 + cut;
    }

    /**
     * How many notes from {@code first} on may be added up in 16 bits: as many as cut {@value #MOST_CUT} altogether, times a weight of at most 128. One at
     * least, since none cuts more than 128.
     */
    private static int group(long notes, int first, int count) {
        int cut = 0;
        int end = first;
        while (end < count) {
            cut += Math.abs(cut(ALL.get(JAVA_INT, notes + 4L * end)));
            if (cut > MOST_CUT) {
                break;
            }
            end++;
        }
        return end;
    }

    private static int cut(int note) {
        return (note & 511) - 256;
    }

    /**
     * For each of some notes the weights of its input, times what was cut. The sums of four registers of outputs stay where they are until all notes are done
     * with.
     *
     * @param part int16 {@code [outputs]}, overwritten
     */
    private void sumGroup(long notes, int first, int end, long weights, long part) {
        int n = 0;
        for (; L >= 8 && n + 4 * SHORTS <= outputs; n += 4 * SHORTS) {
            ShortVector a = ShortVector.zero(S);
            ShortVector b = a;
            ShortVector c = a;
            ShortVector d = a;
            for (int i = first; i < end; i++) {
                int note = ALL.get(JAVA_INT, notes + 4L * i);
                long from = weights + (long) (note >>> 9) * outputs + n;
                ShortVector cut = ShortVector.broadcast(S, (short) cut(note));
                a = a.add(weights(from).mul(cut));
                b = b.add(weights(from + SHORTS).mul(cut));
                c = c.add(weights(from + 2L * SHORTS).mul(cut));
                d = d.add(weights(from + 3L * SHORTS).mul(cut));
            }
            long at = part + 2L * n;
            a.intoMemorySegment(ALL, at, ORDER);
            b.intoMemorySegment(ALL, at + 2L * SHORTS, ORDER);
            c.intoMemorySegment(ALL, at + 4L * SHORTS, ORDER);
            d.intoMemorySegment(ALL, at + 6L * SHORTS, ORDER);
        }
        for (; L >= 8 && n + SHORTS <= outputs; n += SHORTS) {
            ShortVector sum = ShortVector.zero(S);
            for (int i = first; i < end; i++) {
                int note = ALL.get(JAVA_INT, notes + 4L * i);
                sum = sum.add(
                        weights(weights + (long) (note >>> 9) * outputs + n).mul((short) cut(note)));
            }
            sum.intoMemorySegment(ALL, part + 2L * n, ORDER);
        }
        for (; n < outputs; n++) {
            int sum = 0;
            for (int i = first; i < end; i++) {
                int note = ALL.get(JAVA_INT, notes + 4L * i);
                sum += ALL.get(JAVA_BYTE, weights + (long) (note >>> 9) * outputs + n) * cut(note);
            }
            ALL.set(JAVA_SHORT, part + 2L * n, (short) sum);
        }
    }

    private static ShortVector weights(long from) {
        return (ShortVector)
                ByteVector.fromMemorySegment(WEIGHTS, ALL, from, ORDER).convertShape(VectorOperators.B2S, S, 0);
    }

    private static IntVector integers(long from) {
        return IntVector.fromMemorySegment(I, ALL, from, ORDER);
    }

    /** {@code out += values}. */
    private static void addAll(long values, long count, long out) {
        long whole = count - count % L;
        for (long i = 0; i < whole; i += L) {
            integers(out + 4 * i).add(integers(values + 4 * i)).intoMemorySegment(ALL, out + 4 * i, ORDER);
        }
        for (long i = whole; i < count; i++) {
            ALL.set(JAVA_INT, out + 4 * i, ALL.get(JAVA_INT, out + 4 * i) + ALL.get(JAVA_INT, values + 4 * i));
        }
    }

    @Override
    public long weightBytes() {
        return product.weightBytes() + transposed.byteSize() + sums.byteSize();
    }

    @Override
    public void close() {
        product.close();
        arena.close();
    }
}
