package dev.trivet.ptq;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.TreeSet;

/**
 * The bit allocations no other one beats: each has the least total sensitivity among all of its size or smaller. Mixed
 * precision after Liu et al. 2021 is a lookup on it:
 *
 * <pre>minimise sum_g omega[g, k_g]   subject to   sum_g bytes[g, k_g] &lt;= budget,   one option k_g per group g</pre>
 *
 * <p>The paper, after HAWQ-v2, sorts candidate configurations by their total sensitivity (eq. 18) and takes the best that has
 * the target size. Size and sensitivity are both sums over the modules, so this is a multiple-choice knapsack, and we solve it
 * exactly instead, with the dominance lists of Nemhauser and Ullmann (1969): keep all undominated pairs (bytes, omega) of the
 * first groups; add each option of the next group to each pair; drop what is dominated. An optimal allocation restricted to
 * the first groups is undominated there, so nothing that matters is ever dropped. Modules of one shape have the same sizes,
 * which keeps the lists at some hundreds of pairs for a ViT and thousands for a Swin; a table over bytes would have 10^8 columns.
 *
 * <p>Sizes without a common divisor still leave thousands of pairs, but where each byte saved costs the same no allocation
 * beats another and the lists multiply with each group. Should one outgrow {@value #LIMIT} pairs, all sizes are rounded up
 * to a grid of {@link #slack()} / groups bytes, counted from each group's smallest option, and the lists are built again over
 * grid steps. Real sizes are carried along, so that an allocation still fits the budget it is chosen for, and its sensitivity
 * is at most the optimum for a budget smaller by {@link #slack()}, which is 0.02 % of the range of sizes at 50 groups.
 *
 * <p>Of equal sensitivities the smaller size wins, of equal both a fixed order of the options; no result depends on threads or
 * hashing. Immutable and safe for use by many threads.
 */
public final class ParetoFrontier {
    /** Most pairs in a list. The memory is 5 bytes per pair and group. */
    static final int LIMIT = 1 << 18;

    private final List<BitGroup> groups;
    private final long slack;
    private final List<Pairs> lists;
    /** Pairs of the last list that survive, by ascending real bytes and descending omega. */
    private final int[] points;

    private ParetoFrontier(List<BitGroup> groups, long slack, List<Pairs> lists) {
        this.groups = groups;
        this.slack = slack;
        this.lists = lists;
        points = undominated(lists.getLast());
    }

    /**
     * Builds the frontier.
     *
     * @param groups at least one
     * @throws IllegalArgumentException if there is no group
     * @throws ArithmeticException if the sizes add up to more than a long holds
     */
    public static ParetoFrontier of(List<BitGroup> groups) {
        return of(groups, LIMIT);
    }

    static ParetoFrontier of(List<BitGroup> given, int limit) {
        List<BitGroup> groups = List.copyOf(given);
        if (groups.isEmpty() || limit < groups.size() + 2) {
            throw new IllegalArgumentException(groups.size() + " groups in lists of " + limit);
        }
        long smallest = 0;
        long largest = 0;
        for (BitGroup group : groups) {
            smallest += least(group);
            largest = Math.addExact(
                    largest,
                    group.options().stream().mapToLong(BitOption::bytes).max().orElseThrow());
        }
        Optional<List<Pairs>> exact = lists(groups, 1, limit);
        if (exact.isPresent()) {
            return new ParetoFrontier(groups, 0, exact.get());
        }
        // Rounding up adds less than one step per group, hence no list can be longer than range / grid + groups + 1.
        long grid = Math.ceilDiv(largest - smallest, limit - groups.size() - 1);
        return new ParetoFrontier(
                groups,
                Math.multiplyExact(grid, groups.size()),
                lists(groups, grid, limit).orElseThrow());
    }

    private static long least(BitGroup group) {
        return group.options().stream().mapToLong(BitOption::bytes).min().orElseThrow();
    }

    /** The lists after each group, or nothing if one is too long. */
    private static Optional<List<Pairs>> lists(List<BitGroup> groups, long grid, int limit) {
        List<Pairs> lists = new ArrayList<>();
        Pairs last = Pairs.start();
        for (BitGroup group : groups) {
            Pairs next = last.with(group, grid, limit);
            if (next.count > limit) {
                return Optional.empty();
            }
            last.forgetTotals();
            lists.add(next);
            last = next;
        }
        return Optional.of(lists);
    }

    /** On a coarse grid a pair can be beaten in real bytes by one that has more grid steps. */
    private static int[] undominated(Pairs last) {
        Integer[] order = new Integer[last.count];
        Arrays.setAll(order, i -> i);
        Arrays.sort(order, (a, b) -> {
            int byBytes = Long.compare(last.bytes[a], last.bytes[b]);
            return byBytes != 0 ? byBytes : Double.compare(last.omega[a], last.omega[b]);
        });
        int[] kept = new int[order.length];
        int count = 0;
        for (int index : order) {
            if (count == 0 || last.omega[index] < last.omega[kept[count - 1]]) {
                kept[count++] = index;
            }
        }
        return Arrays.copyOf(kept, count);
    }

    /** Groups, in the order of every allocation's options. */
    public List<BitGroup> groups() {
        return groups;
    }

    /** How many allocations the frontier has. */
    public int size() {
        return points.length;
    }

    /**
     * 0: every allocation is optimal. Otherwise bytes: an allocation within a budget is at least as good as the optimum within
     * the budget less this.
     */
    public long slack() {
        return slack;
    }

    /**
     * An allocation of the frontier.
     *
     * @param index from 0, the smallest size, to {@code size() - 1}, the least sensitivity
     * @throws IndexOutOfBoundsException if there is no such allocation
     */
    public BitAllocation get(int index) {
        int state = points[index];
        Pairs last = lists.getLast();
        long bytes = last.bytes[state];
        double omega = last.omega[state];
        BitOption[] options = new BitOption[groups.size()];
        for (int g = options.length - 1; g >= 0; g--) {
            Pairs list = lists.get(g);
            options[g] = groups.get(g).options().get(list.option[state]);
            state = list.parent[state];
        }
        return new BitAllocation(bytes, omega, Arrays.asList(options));
    }

    /** The smallest allocation there is; no smaller budget can be met. */
    public BitAllocation smallest() {
        return get(0);
    }

    /**
     * The allocation of least sensitivity that is no larger than the budget.
     *
     * @param budget bytes
     * @return empty if even the {@link #smallest()} is larger
     */
    public Optional<BitAllocation> within(long budget) {
        int index = indexWithin(budget);
        return index < 0 ? Optional.empty() : Optional.of(get(index));
    }

    /** The last point of at most so many bytes, or -1. */
    private int indexWithin(long budget) {
        long[] bytes = lists.getLast().bytes;
        int low = 0;
        int high = points.length;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (bytes[points[middle]] <= budget) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low - 1;
    }

    /**
     * Some allocations of the frontier for printing, by ascending size: both ends, the one {@link #within} the budget if there
     * is one, and others that fill the widest gaps.
     *
     * @param count how many, at least 3; all if the frontier has no more
     * @param budget bytes
     */
    public List<BitAllocation> thinned(int count, long budget) {
        if (count < 3) {
            throw new IllegalArgumentException(count + " points; at least 3 expected");
        }
        long[] bytes = lists.getLast().bytes;
        TreeSet<Integer> picked = new TreeSet<>(List.of(0, points.length - 1, Math.max(0, indexWithin(budget))));
        while (picked.size() < Math.min(count, points.length)) {
            int from = 0;
            int to = 0;
            long widest = -1;
            int previous = picked.first();
            for (int next : picked) {
                long gap = bytes[points[next]] - bytes[points[previous]];
                if (next - previous > 1 && gap > widest) {
                    from = previous;
                    to = next;
                    widest = gap;
                }
                previous = next;
            }
            int middle = indexWithin(bytes[points[from]] + widest / 2);
            picked.add(Math.clamp(middle, from + 1, to - 1));
        }
        return picked.stream().map(this::get).toList();
    }

    /** The undominated pairs after some groups, by ascending grid steps and descending omega. */
    private static final class Pairs {
        final int count;
        /** Where each pair comes from: the index in the list before and the option of this list's group. */
        final int[] parent;

        final byte[] option;
        /** Rounded size above the smallest possible in steps of the grid, real size, sensitivity. */
        long[] steps;

        long[] bytes;
        double[] omega;

        private Pairs(int count, int[] parent, byte[] option, long[] steps, long[] bytes, double[] omega) {
            this.count = count;
            this.parent = Arrays.copyOf(parent, count);
            this.option = Arrays.copyOf(option, count);
            this.steps = steps;
            this.bytes = bytes;
            this.omega = omega;
        }

        static Pairs start() {
            return new Pairs(1, new int[1], new byte[1], new long[1], new long[1], new double[1]);
        }

        /** Only the way back is needed once the next list stands. */
        void forgetTotals() {
            steps = new long[0];
            bytes = new long[0];
            omega = new double[0];
        }

        /** Merges the lists "these pairs plus option k", each of which is sorted, and drops what is dominated. */
        Pairs with(BitGroup group, long grid, int limit) {
            List<BitOption> options = group.options();
            long least = least(group);
            int most = (int) Math.min((long) limit + 1, (long) count * options.size());
            int[] nextParent = new int[most];
            byte[] nextOption = new byte[most];
            long[] nextSteps = new long[most];
            long[] nextBytes = new long[most];
            double[] nextOmega = new double[most];
            long[] stepsOf = options.stream()
                    .mapToLong(o -> Math.ceilDiv(o.bytes() - least, grid))
                    .toArray();
            int[] head = new int[stepsOf.length];
            int kept = 0;
            while (kept < most) {
                int best = -1;
                long bestSteps = 0;
                long bestBytes = 0;
                double bestOmega = 0;
                for (int k = 0; k < head.length; k++) {
                    if (head[k] == count) {
                        continue;
                    }
                    BitOption added = options.get(k);
                    long s = steps[head[k]] + stepsOf[k];
                    long b = bytes[head[k]] + added.bytes();
                    double w = omega[head[k]] + added.omega();
                    if (best < 0 || precedes(s, w, b, bestSteps, bestOmega, bestBytes)) {
                        best = k;
                        bestSteps = s;
                        bestBytes = b;
                        bestOmega = w;
                    }
                }
                if (best < 0) {
                    break;
                }
                if (kept == 0 || bestOmega < nextOmega[kept - 1]) {
                    nextParent[kept] = head[best];
                    nextOption[kept] = (byte) best;
                    nextSteps[kept] = bestSteps;
                    nextBytes[kept] = bestBytes;
                    nextOmega[kept] = bestOmega;
                    kept++;
                }
                head[best]++;
            }
            return new Pairs(kept, nextParent, nextOption, nextSteps, nextBytes, nextOmega);
        }

        private static boolean precedes(long s, double w, long b, long bestSteps, double bestOmega, long bestBytes) {
            if (s != bestSteps) {
                return s < bestSteps;
            }
            return w != bestOmega ? w < bestOmega : b < bestBytes;
        }
    }
}
