package dev.trivet.ptq;

import dev.trivet.BadInputException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * The widths that mixed precision gives the modules of a model for a target: of all choices that meet it the one of least
 * total sensitivity, exactly ({@link ParetoFrontier}). The target is never exceeded; Liu et al. 2021 allow themselves one
 * percent more.
 *
 * <p>A target in bytes is for the whole file. How long the header becomes is not known before the search, so its longest form
 * is counted ({@link FileSizeBound}), for each module at each width.
 *
 * @param choices in execution order
 * @param fileBytes upper bound of the file's size
 * @param codeBytes bytes of the modules' weight codes
 * @param averageBits mean width of the modules' weights
 * @param omega total sensitivity
 * @param frontier about 20 of the best choices for other targets, by ascending size, this one among them
 * @param slack 0 if the choice is optimal; otherwise it is at least as good as the optimum for a target that many bytes smaller
 */
public record MixedPrecision(
        List<Choice> choices,
        long fileBytes,
        long codeBytes,
        double averageBits,
        double omega,
        List<Point> frontier,
        long slack) {
    private static final int POINTS = 20;

    /** Copies the lists. */
    public MixedPrecision {
        choices = List.copyOf(choices);
        frontier = List.copyOf(frontier);
    }

    /**
     * What a module got.
     *
     * @param module {@code blocks.N.attn} or {@code blocks.N.mlp}
     * @param codeBytes bytes of its weight codes
     * @param omega its sensitivity at that width
     * @param reason why not one width less or more, a clause for a person to read
     */
    public record Choice(String module, int bits, long codeBytes, double omega, String reason) {}

    /**
     * A choice that no other beats.
     *
     * @param fileBytes upper bound of the file's size
     * @param codeBytes bytes of the modules' weight codes
     * @param averageBits mean width of the modules' weights
     * @param chosen whether it is the one that was taken
     */
    public record Point(long fileBytes, long codeBytes, double averageBits, double omega, boolean chosen) {}

    /** Candidate widths for a mean width: the paper's 4 to 8 below 8 bits, 6 to 10 from there. */
    public static int[] candidates(double averageBits) {
        return averageBits < 8 ? new int[] {4, 5, 6, 7, 8} : new int[] {6, 7, 8, 9, 10};
    }

    /** Candidate widths for a file size: 6 to 10 if all modules could have 8 bits. */
    public static int[] candidates(FileSizeBound bound, long fileBytes) {
        long eight = bound.fixed();
        for (BlockModule module : bound.modules()) {
            eight += bound.module(module.name(), 8);
        }
        return candidates(fileBytes < eight ? 4 : 8);
    }

    /**
     * Finds out before any search whether there can be a file of at most so many bytes.
     *
     * @param widths to choose from
     * @throws BadInputException if the smallest file is larger
     */
    public static void requireFileSize(FileSizeBound bound, int[] widths, long fileBytes) {
        List<BitGroup> unmeasured = bound.modules().stream()
                .map(module -> new BitGroup(
                        module.name(),
                        Arrays.stream(widths)
                                .mapToObj(bits -> new BitOption(bits, bound.module(module.name(), bits), 0))
                                .toList()))
                .toList();
        ofFileSize(unmeasured, bound, fileBytes);
    }

    /**
     * Widths for a file of at most so many bytes.
     *
     * @param groups of {@link ModuleSensitivity}
     * @throws BadInputException if the smallest file is larger
     */
    public static MixedPrecision ofFileSize(List<BitGroup> groups, FileSizeBound bound, long fileBytes) {
        List<BitGroup> priced = new ArrayList<>();
        for (BitGroup group : groups) {
            priced.add(new BitGroup(
                    group.name(),
                    group.options().stream()
                            .map(o -> new BitOption(o.bits(), bound.module(group.name(), o.bits()), o.omega()))
                            .toList()));
        }
        ParetoFrontier frontier = ParetoFrontier.of(priced);
        long budget = fileBytes - bound.fixed();
        if (frontier.smallest().bytes() > budget) {
            long least = bound.fixed() + frontier.smallest().bytes();
            throw new BadInputException(String.format(
                    Locale.ROOT,
                    "a file of %d bytes cannot be made: with %s it takes up to %d bytes (%s); ask for at least that, or"
                            + " allow fewer bits",
                    fileBytes,
                    narrowest(frontier.smallest()),
                    least,
                    size(least)));
        }
        return of(groups, bound, frontier, budget);
    }

    /**
     * Widths whose weight codes take no more bytes than if every module had the same width.
     *
     * @param groups of {@link ModuleSensitivity}
     * @param bits that width, at least 1, not necessarily whole
     * @throws BadInputException if the smallest choice is larger
     */
    public static MixedPrecision ofAverageBits(List<BitGroup> groups, FileSizeBound bound, double bits) {
        ParetoFrontier frontier = ParetoFrontier.of(groups);
        long budget = 0;
        for (BitGroup group : groups) {
            budget += bound.named(group.name()).wantedBytes(bits);
        }
        if (!(frontier.smallest().bytes() <= budget)) {
            throw new BadInputException(String.format(
                    Locale.ROOT,
                    "an average of %s bits cannot be met: with %s the weights take %d bytes, and the target is %d; ask"
                            + " for more bits on average, or allow fewer in a module",
                    number(bits),
                    narrowest(frontier.smallest()),
                    frontier.smallest().bytes(),
                    budget));
        }
        return of(groups, bound, frontier, budget);
    }

    private static String narrowest(BitAllocation smallest) {
        int low = smallest.options().stream().mapToInt(BitOption::bits).min().orElseThrow();
        int high = smallest.options().stream().mapToInt(BitOption::bits).max().orElseThrow();
        return low == high ? "every module at " + low + " bits" : "modules at " + low + " to " + high + " bits";
    }

    private static MixedPrecision of(List<BitGroup> groups, FileSizeBound bound, ParetoFrontier frontier, long budget) {
        BitAllocation chosen = frontier.within(budget).orElseThrow();
        List<Choice> choices = new ArrayList<>();
        for (int g = 0; g < groups.size(); g++) {
            BitGroup group = groups.get(g);
            int bits = chosen.options().get(g).bits();
            BitOption option = group.options().stream()
                    .filter(o -> o.bits() == bits)
                    .findFirst()
                    .orElseThrow();
            choices.add(new Choice(group.name(), bits, option.bytes(), option.omega(), reason(group, bits)));
        }
        List<Point> points = frontier.thinned(POINTS, budget).stream()
                .map(a -> point(groups, bound, a, a.equals(chosen)))
                .toList();
        Point own = point(groups, bound, chosen, true);
        return new MixedPrecision(
                choices, own.fileBytes(), own.codeBytes(), own.averageBits(), chosen.omega(), points, frontier.slack());
    }

    private static Point point(List<BitGroup> groups, FileSizeBound bound, BitAllocation allocation, boolean chosen) {
        long file = bound.fixed();
        long codes = 0;
        double bits = 0;
        long weights = 0;
        for (int g = 0; g < groups.size(); g++) {
            BlockModule module = bound.named(groups.get(g).name());
            int width = allocation.options().get(g).bits();
            file += bound.module(module.name(), width);
            codes += module.codeBytes(width);
            bits += (double) width * module.weights();
            weights += module.weights();
        }
        return new Point(file, codes, weights == 0 ? 0 : bits / weights, allocation.omega(), chosen);
    }

    /** The chosen widths by module, for {@link QuantizationPlan#withModuleBits}. */
    public Map<String, Integer> bits() {
        Map<String, Integer> bits = new LinkedHashMap<>();
        choices.forEach(choice -> bits.put(choice.module(), choice.bits()));
        return bits;
    }

    /** The frontier and the reasons, for printing. */
    public List<String> lines() {
        List<String> lines = new ArrayList<>();
        lines.add(String.format(
                Locale.ROOT,
                "%.2f bits on average, at most %s, total omega %s",
                averageBits,
                size(fileBytes),
                figure(omega)));
        lines.add("Pareto frontier (file at most, average bits, total omega):");
        for (Point point : frontier) {
            lines.add(String.format(
                    Locale.ROOT,
                    "%s %10s %6.2f %10s",
                    point.chosen() ? "*" : " ",
                    size(point.fileBytes()),
                    point.averageBits(),
                    figure(point.omega())));
        }
        int longest = choices.stream().mapToInt(c -> c.module().length()).max().orElse(1);
        for (Choice choice : choices) {
            lines.add(String.format(
                    Locale.ROOT,
                    "%-" + Math.max(15, longest) + "s %2d bits: %s",
                    choice.module(),
                    choice.bits(),
                    choice.reason()));
        }
        return lines;
    }

    /** Compares the chosen width with the next one below and above. */
    static String reason(BitGroup group, int bits) {
        List<BitOption> byBits = group.options().stream()
                .sorted((a, b) -> Integer.compare(a.bits(), b.bits()))
                .toList();
        int at = 0;
        while (byBits.get(at).bits() != bits) {
            at++;
        }
        BitOption own = byBits.get(at);
        if (byBits.size() == 1) {
            return "the only width allowed; omega " + figure(own.omega());
        }
        String below;
        if (at == 0) {
            below = "the fewest allowed; omega " + figure(own.omega());
        } else {
            BitOption less = byBits.get(at - 1);
            below = change(less, own) + " from " + less.bits() + " to " + bits + " bits for "
                    + size(own.bytes() - less.bytes());
        }
        if (at == byBits.size() - 1) {
            return below + "; no more bits are allowed";
        }
        BitOption more = byBits.get(at + 1);
        String price = size(more.bytes() - own.bytes());
        return below
                + (own.omega() > more.omega()
                        ? "; " + more.bits() + " bits would cost " + price + " more for " + less(own, more)
                        : "; " + more.bits() + " bits would cost " + price + " more and not lower it");
    }

    private static String change(BitOption from, BitOption to) {
        if (!(to.omega() < from.omega())) {
            return "omega does not fall (" + figure(from.omega()) + " and " + figure(to.omega()) + ")";
        }
        return "omega falls " + (to.omega() > 0 ? factor(from.omega() / to.omega()) : "to nothing") + " (from "
                + figure(from.omega()) + " to " + figure(to.omega()) + ")";
    }

    private static String less(BitOption own, BitOption more) {
        String saved = " (" + figure(own.omega() - more.omega()) + " less)";
        return more.omega() > 0
                ? "an omega " + factor(own.omega() / more.omega()) + " lower" + saved
                : "an omega of nothing" + saved;
    }

    private static String factor(double ratio) {
        return String.format(Locale.ROOT, ratio < 9.95 ? "%.1fx" : "%.0fx", ratio);
    }

    private static String figure(double value) {
        return String.format(Locale.ROOT, "%.3g", value);
    }

    private static String number(double value) {
        return value == Math.rint(value) ? String.valueOf((long) value) : String.valueOf(value);
    }

    private static String size(long bytes) {
        if (bytes < 1000) {
            return bytes + " B";
        }
        double kilobytes = bytes / 1e3;
        return kilobytes < 1000
                ? String.format(Locale.ROOT, kilobytes < 9.95 ? "%.1f kB" : "%.0f kB", kilobytes)
                : String.format(Locale.ROOT, "%.3f MB", bytes / 1e6);
    }
}
