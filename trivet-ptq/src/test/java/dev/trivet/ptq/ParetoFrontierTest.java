package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

class ParetoFrontierTest {
    private static final BitGroup ATTENTION =
            new BitGroup("attention", List.of(new BitOption(4, 4, 9), new BitOption(6, 6, 5), new BitOption(8, 8, 1)));
    private static final BitGroup MLP =
            new BitGroup("mlp", List.of(new BitOption(4, 8, 20), new BitOption(6, 12, 3), new BitOption(8, 16, 2)));

    private static List<Integer> bits(BitAllocation allocation) {
        return allocation.options().stream().map(BitOption::bits).toList();
    }

    /** Groups with whole-numbered sensitivities, whose sums are exact, and many ties. */
    private static List<BitGroup> random(Random random, int groups, int sizes) {
        List<BitGroup> result = new ArrayList<>();
        for (int g = 0; g < groups; g++) {
            List<BitOption> options = new ArrayList<>();
            int count = 1 + random.nextInt(4);
            for (int k = 0; k < count; k++) {
                options.add(new BitOption(2 + k, random.nextInt(sizes), random.nextInt(12)));
            }
            result.add(new BitGroup("g" + g, options));
        }
        return result;
    }

    /** Every allocation, one by one. */
    private static List<BitAllocation> all(List<BitGroup> groups) {
        List<BitAllocation> found = List.of(new BitAllocation(0, 0, List.of()));
        for (BitGroup group : groups) {
            List<BitAllocation> longer = new ArrayList<>();
            for (BitAllocation start : found) {
                for (BitOption option : group.options()) {
                    List<BitOption> options = new ArrayList<>(start.options());
                    options.add(option);
                    longer.add(
                            new BitAllocation(start.bytes() + option.bytes(), start.omega() + option.omega(), options));
                }
            }
            found = longer;
        }
        return found;
    }

    private static Optional<BitAllocation> best(List<BitAllocation> all, long budget) {
        return all.stream()
                .filter(a -> a.bytes() <= budget)
                .min((a, b) -> a.omega() != b.omega()
                        ? Double.compare(a.omega(), b.omega())
                        : Long.compare(a.bytes(), b.bytes()));
    }

    private static void assertConsistent(BitAllocation allocation, List<BitGroup> groups) {
        assertThat(allocation.options()).hasSameSizeAs(groups);
        long bytes = 0;
        double omega = 0;
        for (int g = 0; g < groups.size(); g++) {
            BitOption option = allocation.options().get(g);
            assertThat(groups.get(g).options()).contains(option);
            bytes += option.bytes();
            omega += option.omega();
        }
        assertThat(allocation.bytes()).isEqualTo(bytes);
        assertThat(allocation.omega()).isEqualTo(omega);
    }

    private static void assertMonotone(ParetoFrontier frontier) {
        for (int i = 1; i < frontier.size(); i++) {
            assertThat(frontier.get(i).bytes())
                    .isGreaterThan(frontier.get(i - 1).bytes());
            assertThat(frontier.get(i).omega()).isLessThan(frontier.get(i - 1).omega());
        }
    }

    /**
     * The nine sums by hand: 12/29, 14/25, 16/21 | 16/12, 18/8, 20/4 | 20/11, 22/7, 24/3. Sixteen is better as 4+6 than as
     * 8+4, and 20/11 and 22/7 are beaten by 20/4.
     */
    @Test
    void handWorkedFrontier() {
        ParetoFrontier frontier = ParetoFrontier.of(List.of(ATTENTION, MLP));
        assertThat(frontier.slack()).isZero();
        List<List<Number>> points = new ArrayList<>();
        for (int i = 0; i < frontier.size(); i++) {
            points.add(List.of(frontier.get(i).bytes(), frontier.get(i).omega()));
        }
        assertThat(points)
                .containsExactly(
                        List.of(12L, 29.0),
                        List.of(14L, 25.0),
                        List.of(16L, 12.0),
                        List.of(18L, 8.0),
                        List.of(20L, 4.0),
                        List.of(24L, 3.0));
        assertThat(bits(frontier.get(2))).containsExactly(4, 6);
        assertThat(bits(frontier.get(4))).containsExactly(8, 6);
    }

    @Test
    void budgetIsMetButNeverPassed() {
        ParetoFrontier frontier = ParetoFrontier.of(List.of(ATTENTION, MLP));
        assertThat(frontier.within(20).orElseThrow().bytes()).isEqualTo(20);
        assertThat(frontier.within(19).orElseThrow().bytes()).isEqualTo(18);
        assertThat(frontier.within(23).orElseThrow().bytes()).isEqualTo(20);
        assertThat(frontier.within(Long.MAX_VALUE).orElseThrow().bytes()).isEqualTo(24);
    }

    @Test
    void anImpossibleBudgetIsEmptyAndTheSmallestSizeIsKnown() {
        ParetoFrontier frontier = ParetoFrontier.of(List.of(ATTENTION, MLP));
        assertThat(frontier.within(11)).isEmpty();
        assertThat(frontier.within(-1)).isEmpty();
        assertThat(frontier.smallest().bytes()).isEqualTo(12);
        assertThat(frontier.within(12)).contains(frontier.smallest());
    }

    /** Widths that cost nothing in accuracy are not given more bytes. */
    @Test
    void tiesGoToFewerBytesThenToTheFirstOption() {
        BitGroup flat = new BitGroup(
                "flat",
                List.of(
                        new BitOption(8, 8, 1),
                        new BitOption(6, 6, 1),
                        new BitOption(4, 4, 1),
                        new BitOption(3, 4, 1)));
        ParetoFrontier frontier = ParetoFrontier.of(List.of(flat, flat));
        assertThat(frontier.size()).isEqualTo(1);
        assertThat(bits(frontier.smallest())).containsExactly(4, 4);
    }

    @Property(tries = 300)
    void agreesWithTryingEverything(@ForAll long seed, @ForAll @IntRange(min = 1, max = 6) int groupCount) {
        Random random = new Random(seed);
        List<BitGroup> groups = random(random, groupCount, 30);
        List<BitAllocation> all = all(groups);
        ParetoFrontier frontier = ParetoFrontier.of(groups);
        assertThat(frontier.slack()).isZero();
        assertMonotone(frontier);
        for (long budget = -1; budget <= 30L * groupCount; budget++) {
            Optional<BitAllocation> expected = best(all, budget);
            Optional<BitAllocation> found = frontier.within(budget);
            assertThat(found.isPresent()).isEqualTo(expected.isPresent());
            if (found.isPresent()) {
                assertConsistent(found.get(), groups);
                assertThat(found.get().bytes()).isEqualTo(expected.orElseThrow().bytes());
                assertThat(found.get().omega()).isEqualTo(expected.orElseThrow().omega());
            }
        }
    }

    /** The coarse lists stay within the budget, and no worse than the optimum for the budget less the slack. */
    @Property(tries = 200)
    void longListsAreRoundedWithinTheBound(@ForAll long seed, @ForAll @IntRange(min = 3, max = 6) int groupCount) {
        Random random = new Random(seed);
        List<BitGroup> groups = random(random, groupCount, 100_000);
        List<BitAllocation> all = all(groups);
        ParetoFrontier frontier = ParetoFrontier.of(groups, groupCount + 4);
        assertMonotone(frontier);
        for (int i = 0; i < 50; i++) {
            long budget = random.nextLong(100_000L * groupCount);
            Optional<BitAllocation> found = frontier.within(budget);
            Optional<BitAllocation> bound = best(all, budget - frontier.slack());
            if (bound.isPresent()) {
                assertThat(found).isPresent();
                assertThat(found.get().omega()).isLessThanOrEqualTo(bound.get().omega());
            }
            found.ifPresent(allocation -> {
                assertThat(allocation.bytes()).isLessThanOrEqualTo(budget);
                assertConsistent(allocation, groups);
            });
        }
    }

    /** Swin-like: four widths of module, 48 groups. Every bit counts alike, so that only sizes differ. */
    @Test
    void modulesOfAFewShapesKeepTheListsShort() {
        List<BitGroup> groups = new ArrayList<>();
        for (int g = 0; g < 48; g++) {
            int width = 96 << (g / 12);
            List<BitOption> options = new ArrayList<>();
            for (int bits = 4; bits <= 8; bits++) {
                long weights = (g % 2 == 0 ? 4L : 8L) * width * width;
                options.add(new BitOption(bits, weights * bits / 8, (1 + g * 7 % 11) * Math.pow(4, -bits)));
            }
            groups.add(new BitGroup("g" + g, options));
        }
        ParetoFrontier frontier = ParetoFrontier.of(groups);
        assertThat(frontier.slack()).isZero();
        assertThat(frontier.size()).isLessThan(5000);
        long full = frontier.get(frontier.size() - 1).bytes();
        BitAllocation six = frontier.within(full * 6 / 8).orElseThrow();
        assertConsistent(six, groups);
        // 6 bits everywhere is one of the choices, so the mixture is no worse.
        double uniform =
                groups.stream().mapToDouble(g -> g.options().get(2).omega()).sum();
        assertThat(six.bytes()).isLessThanOrEqualTo(full * 6 / 8);
        assertThat(six.omega()).isLessThan(uniform);
        assertThat(bits(six)).contains(5, 7);
    }

    /** Sizes without a common divisor, about a gigabyte in all. */
    private static List<BitGroup> unrelated(boolean everyByteCounts) {
        Random random = new Random(1);
        List<BitGroup> groups = new ArrayList<>();
        for (int g = 0; g < 30; g++) {
            List<BitOption> options = new ArrayList<>();
            long weights = random.nextLong(30_000_000, 40_000_000);
            double weight = 1 + random.nextDouble();
            for (int bits = 4; bits <= 8; bits++) {
                long bytes = weights * bits / 8 + random.nextInt(9);
                options.add(new BitOption(bits, bytes, everyByteCounts ? 2e8 - bytes : weight * Math.pow(4, -bits)));
            }
            groups.add(new BitGroup("g" + g, options));
        }
        return groups;
    }

    @Test
    void unrelatedSizesStayExact() {
        ParetoFrontier frontier = ParetoFrontier.of(unrelated(false));
        assertThat(frontier.slack()).isZero();
        assertMonotone(frontier);
    }

    /** Where a byte is worth the same everywhere, all 5^30 allocations are undominated; the best uses the budget up. */
    @Test
    void hopelesslyLongListsFallBackToAFineGrid() {
        List<BitGroup> groups = unrelated(true);
        ParetoFrontier frontier = ParetoFrontier.of(groups);
        long smallest = frontier.smallest().bytes();
        long full = frontier.get(frontier.size() - 1).bytes();
        assertThat(frontier.slack()).isPositive().isLessThan((full - smallest) / 4000);
        assertThat(frontier.size()).isLessThanOrEqualTo(ParetoFrontier.LIMIT);
        assertMonotone(frontier);
        for (int bits = 5; bits <= 7; bits++) {
            long budget = full * bits / 8;
            BitAllocation found = frontier.within(budget).orElseThrow();
            assertConsistent(found, groups);
            assertThat(found.bytes()).isBetween(budget - frontier.slack(), budget);
        }
    }

    @Test
    void thinnedKeepsTheEndsAndTheChosen() {
        List<BitGroup> groups = new ArrayList<>();
        for (int g = 0; g < 7; g++) {
            groups.add(new BitGroup(
                    "g" + g,
                    List.of(
                            new BitOption(4, 0, 3 << g),
                            new BitOption(6, 1 << g, 1 << g),
                            new BitOption(8, 2 << g, 0))));
        }
        ParetoFrontier frontier = ParetoFrontier.of(groups);
        assertThat(frontier.size()).isGreaterThan(20);
        for (int i = 0; i < frontier.size(); i++) {
            BitAllocation chosen = frontier.get(i);
            List<BitAllocation> thinned = frontier.thinned(9, chosen.bytes());
            assertThat(thinned)
                    .hasSize(9)
                    .doesNotHaveDuplicates()
                    .contains(chosen)
                    .startsWith(frontier.smallest())
                    .endsWith(frontier.get(frontier.size() - 1))
                    .isSortedAccordingTo((a, b) -> Long.compare(a.bytes(), b.bytes()));
            // Evenly spread: no gap is more than a quarter of the whole.
            for (int k = 1; k < thinned.size(); k++) {
                assertThat(thinned.get(k).bytes() - thinned.get(k - 1).bytes()).isLessThanOrEqualTo(254 / 4);
            }
        }
        assertThat(frontier.thinned(3, -5)).hasSize(3);
        assertThat(ParetoFrontier.of(List.of(ATTENTION, MLP)).thinned(50, 20)).hasSize(6);
        assertThat(ParetoFrontier.of(List.of(new BitGroup("one", List.of(new BitOption(4, 1, 1)))))
                        .thinned(5, 7))
                .hasSize(1);
    }

    @Test
    void senselessInputsAreRefused() {
        assertThatThrownBy(() -> ParetoFrontier.of(List.of())).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new BitGroup("none", List.of())).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new BitOption(4, 1, Double.NaN)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new BitOption(4, -1, 0)).isInstanceOf(IllegalArgumentException.class);
        BitGroup huge = new BitGroup("huge", List.of(new BitOption(4, Long.MAX_VALUE, 0)));
        assertThatThrownBy(() -> ParetoFrontier.of(List.of(huge, huge))).isInstanceOf(ArithmeticException.class);
    }
}
