package dev.trivet.ptq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.model.VitModel;
import dev.trivet.tensor.SafetensorsFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Targets are met by the files that are written, and reasons say what the numbers say. */
class MixedPrecisionTest {
    private static final MethodSettings TRIVET = TrivetSettings.defaults(0, 1);
    private static final int[] ALL = {2, 3, 4, 5, 6, 7, 8, 9, 10};

    @TempDir
    Path folder;

    private static QuantizationPlan base(VitModel model) {
        return QuantizationPlan.uniform(model.vit(), 8, 8, 8);
    }

    private long write(VitModel model, QuantizationPlan plan, Provenance provenance) throws IOException {
        return write(model, plan, TRIVET, provenance);
    }

    private long write(VitModel model, QuantizationPlan plan, MethodSettings settings, Provenance provenance)
            throws IOException {
        VitModel quantized = new Quantization(
                        model, new ReferenceKernels(), new Fixtures.Noise(model.vit(), 2, 3), plan, settings)
                .run(SearchListener.SILENT);
        Path file = folder.resolve("model.safetensors");
        QuantizedModelFile.write(file, quantized, provenance);
        return Files.size(file);
    }

    @ParameterizedTest
    @CsvSource({
        "vit_micro, 2",
        "vit_micro, 5",
        "vit_micro, 7",
        "vit_micro, 10",
        "deit_distilled_micro, 3",
        "deit_distilled_micro, 8",
        "deit_distilled_micro, 9",
        "vit_gap_micro, 4",
        "vit_gap_micro, 6"
    })
    void filesAreNeverLargerThanTheBound(String micro, int bits) throws IOException {
        VitModel model = Fixtures.micro(micro);
        List<String> labels = new ArrayList<>();
        for (int c = 0; c < model.vit().classes(); c++) {
            labels.add("a \"quoted\" / Käfer \uD83D\uDC1E " + c);
        }
        VitModel named = model.withLabels(labels);
        QuantizationPlan plan = QuantizationPlan.uniform(model.vit(), bits, bits, bits);
        Provenance provenance = new Provenance(
                Map.of("tool", "trivet \"1\"", "seed", "7"), Optional.of("{\"asked\": \"é\"}"), Optional.of("{}"));
        FileSizeBound bound =
                new FileSizeBound(named.config(), plan, TRIVET, FileSizeBound.provenanceBytes(provenance));
        long size = write(named, plan, provenance);
        assertThat(size).isBetween((long) ((bound.of(plan) - 10_000) / 1.01), bound.of(plan));
        long sum = bound.fixed();
        for (BlockModule module : BlockModule.of(model.vit(), plan)) {
            sum += bound.module(module.name(), bits);
        }
        assertThat(sum).isEqualTo(bound.of(plan));
    }

    /** What a method never writes is not reserved: the bound is off by digits of scales and zero points only. */
    @ParameterizedTest
    @ValueSource(ints = {4, 6, 8, 10})
    void theBoundOfUniformQuantizersIsCloser(int bits) throws IOException {
        VitModel model = Fixtures.micro("vit_micro");
        QuantizationPlan plan = QuantizationPlan.uniform(model.vit(), bits, bits, bits);
        Provenance provenance = new Provenance(Map.of("seed", "7"));
        FileSizeBound bound = new FileSizeBound(
                model.config(), plan, LiuSettings.defaults(0, 1), FileSizeBound.provenanceBytes(provenance));
        long size = write(model, plan, LiuSettings.defaults(0, 1), provenance);
        long quantizers = plan.operators().size() * 2L;
        assertThat(size).isBetween(bound.of(plan) - 400 - 50 * quantizers, bound.of(plan));
    }

    @Test
    void theBoundCountsLayersLeftInFloat() throws IOException {
        VitModel model = Fixtures.micro("vit_micro");
        List<OperatorPlan> operators = new ArrayList<>();
        for (OperatorPlan o : base(model).operators()) {
            boolean excluded =
                    !o.operator().startsWith("blocks.") || o.operator().startsWith("blocks.0.mlp");
            operators.add(excluded ? new OperatorPlan(o.operator(), 32, 32) : o);
        }
        QuantizationPlan plan = new QuantizationPlan(operators);
        FileSizeBound bound = new FileSizeBound(model.config(), plan, TRIVET, 100);
        assertThat(write(model, plan, new Provenance(Map.of())))
                .isBetween((long) ((bound.of(plan) - 10_000) / 1.01), bound.of(plan));
        assertThatThrownBy(() -> bound.module("blocks.0.mlp", 8)).isInstanceOf(IllegalArgumentException.class);
    }

    /** Omegas that fall sixteenfold per two bits, and are larger in later blocks. */
    private static List<BitGroup> groups(VitModel model, int... bits) {
        List<BitGroup> groups = new ArrayList<>();
        double weight = 1;
        for (BlockModule module : BlockModule.of(model.vit(), base(model))) {
            List<BitOption> options = new ArrayList<>();
            for (int b : bits) {
                options.add(new BitOption(b, module.codeBytes(b), weight * Math.pow(4, -b)));
            }
            groups.add(new BitGroup(module.name(), options));
            weight *= 5;
        }
        return groups;
    }

    @ParameterizedTest
    @ValueSource(doubles = {0.05, 0.4, 0.8})
    void writtenFilesMeetTheTarget(double share) throws IOException {
        VitModel model = Fixtures.micro("vit_micro");
        FileSizeBound bound = new FileSizeBound(
                model.config(), base(model), TRIVET, FileSizeBound.provenanceBytes(new Provenance(Map.of())));
        long least = bound.of(base(model).withModuleBits(all(model, 2)));
        long most = bound.of(base(model).withModuleBits(all(model, 10)));
        long target = least + (long) (share * (most - least));
        MixedPrecision mixed = MixedPrecision.ofFileSize(groups(model, ALL), bound, target);
        assertThat(mixed.bits().values().stream().distinct().count()).isGreaterThan(1);
        QuantizationPlan plan = base(model).withModuleBits(mixed.bits());
        assertThat(mixed.fileBytes()).isEqualTo(bound.of(plan)).isLessThanOrEqualTo(target);
        assertThat(write(model, plan, new Provenance(Map.of()))).isLessThanOrEqualTo(target);
        try (SafetensorsFile file = SafetensorsFile.open(folder.resolve("model.safetensors"))) {
            VitModel read = QuantizedModelFile.read(file).model();
            assertThat(read.linears().values().stream()
                            .map(l -> (dev.trivet.model.LinearLayer.Quantized) l)
                            .filter(l -> l.name().startsWith("blocks."))
                            .mapToLong(l -> QuantizedModelFile.codeBytes(l, QuantizedModelFile.VERSION))
                            .sum())
                    .isEqualTo(mixed.codeBytes());
        }
        // Nothing else that meets the target is better: one module a bit wider no longer fits or is no better.
        for (MixedPrecision.Choice choice : mixed.choices()) {
            if (choice.bits() < 10) {
                Map<String, Integer> wider = new java.util.LinkedHashMap<>(mixed.bits());
                wider.merge(choice.module(), 1, Integer::sum);
                assertThat(bound.of(base(model).withModuleBits(wider))).isGreaterThan(target);
            }
        }
    }

    private static Map<String, Integer> all(VitModel model, int bits) {
        Map<String, Integer> all = new java.util.LinkedHashMap<>();
        BlockModule.of(model.vit(), base(model)).forEach(m -> all.put(m.name(), bits));
        return all;
    }

    @Test
    void averageBitsAreNotExceeded() {
        VitModel model = Fixtures.micro("vit_micro");
        FileSizeBound bound = new FileSizeBound(model.config(), base(model), TRIVET, 0);
        List<BitGroup> groups = groups(model, 4, 5, 6, 7, 8);
        for (double bits : new double[] {4, 4.7, 6, 7.25}) {
            MixedPrecision mixed = MixedPrecision.ofAverageBits(groups, bound, bits);
            assertThat(mixed.averageBits()).isBetween(bits - 0.5, bits);
            assertThat(mixed.frontier().stream().filter(MixedPrecision.Point::chosen))
                    .hasSize(1);
            assertThat(mixed.frontier())
                    .hasSizeLessThanOrEqualTo(20)
                    .isSortedAccordingTo((a, b) -> Long.compare(a.codeBytes(), b.codeBytes()));
        }
        assertThat(MixedPrecision.ofAverageBits(groups, bound, 4).bits()).isEqualTo(all(model, 4));
        assertThat(MixedPrecision.ofAverageBits(groups, bound, 8).bits()).isEqualTo(all(model, 8));
        // Later modules hurt five times more; the uniform width is beaten.
        MixedPrecision six = MixedPrecision.ofAverageBits(groups, bound, 6);
        double uniform =
                groups.stream().mapToDouble(g -> g.options().get(2).omega()).sum();
        assertThat(six.omega()).isLessThan(uniform / 2);
    }

    @Test
    void theBestOfAllAllocationsIsTaken() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        FileSizeBound bound = new FileSizeBound(model.config(), base(model), TRIVET, 0);
        List<BitGroup> groups = groups(model, 4, 5, 7, 9);
        long target = bound.of(base(model).withModuleBits(all(model, 6)));
        double best = Double.POSITIVE_INFINITY;
        for (int code = 0; code < 256; code++) {
            Map<String, Integer> bits = new java.util.LinkedHashMap<>();
            double omega = 0;
            for (int g = 0; g < 4; g++) {
                BitOption option = groups.get(g).options().get(code >> (2 * g) & 3);
                bits.put(groups.get(g).name(), option.bits());
                omega += option.omega();
            }
            if (bound.of(base(model).withModuleBits(bits)) <= target) {
                best = Math.min(best, omega);
            }
        }
        assertThat(MixedPrecision.ofFileSize(groups, bound, target).omega()).isEqualTo(best);
    }

    @Test
    void aTargetThatCannotBeMetNamesTheSmallestThatCan() {
        VitModel model = Fixtures.micro("vit_micro");
        FileSizeBound bound = new FileSizeBound(model.config(), base(model), TRIVET, 0);
        List<BitGroup> groups = groups(model, 4, 5);
        long least = bound.of(base(model).withModuleBits(all(model, 4)));
        assertThatThrownBy(() -> MixedPrecision.ofFileSize(groups, bound, least - 1))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining(String.valueOf(least))
                .hasMessageContaining("every module at 4 bits")
                .hasMessageNotContaining("\n");
        assertThat(MixedPrecision.ofFileSize(groups, bound, least).bits()).isEqualTo(all(model, 4));
        assertThatThrownBy(() -> MixedPrecision.ofAverageBits(groups, bound, 3.9))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("3.9 bits")
                .hasMessageContaining("every module at 4 bits");
    }

    @Test
    void candidatesFollowTheTarget() {
        assertThat(MixedPrecision.candidates(6)).containsExactly(4, 5, 6, 7, 8);
        assertThat(MixedPrecision.candidates(7.99)).containsExactly(4, 5, 6, 7, 8);
        assertThat(MixedPrecision.candidates(8)).containsExactly(6, 7, 8, 9, 10);
        VitModel model = Fixtures.micro("vit_micro");
        FileSizeBound bound = new FileSizeBound(model.config(), base(model), TRIVET, 0);
        long eight = bound.of(base(model));
        assertThat(MixedPrecision.candidates(bound, eight)).containsExactly(6, 7, 8, 9, 10);
        assertThat(MixedPrecision.candidates(bound, eight - 1)).containsExactly(4, 5, 6, 7, 8);
    }

    @Test
    void reasonsSayTheNumbers() {
        BitGroup group = new BitGroup(
                "blocks.0.mlp",
                List.of(
                        new BitOption(5, 100_000, 24),
                        new BitOption(6, 120_000, 2),
                        new BitOption(7, 157_000, 1.25),
                        new BitOption(8, 1_357_000, 1.25)));
        assertThat(MixedPrecision.reason(group, 5))
                .isEqualTo("the fewest allowed; omega 24.0; 6 bits would cost 20 kB more for an omega 12x lower"
                        + " (22.0 less)");
        assertThat(MixedPrecision.reason(group, 6))
                .isEqualTo(
                        "omega falls 12x (from 24.0 to 2.00) from 5 to 6 bits for 20 kB; 7 bits would cost 37 kB more"
                                + " for an omega 1.6x lower (0.750 less)");
        assertThat(MixedPrecision.reason(group, 7))
                .isEqualTo("omega falls 1.6x (from 2.00 to 1.25) from 6 to 7 bits for 37 kB; 8 bits would cost 1.200 MB"
                        + " more and not lower it");
        assertThat(MixedPrecision.reason(group, 8))
                .isEqualTo("omega does not fall (1.25 and 1.25) from 7 to 8 bits for 1.200 MB; no more bits are"
                        + " allowed");
        assertThat(MixedPrecision.reason(new BitGroup("m", List.of(new BitOption(4, 1, 0.5))), 4))
                .isEqualTo("the only width allowed; omega 0.500");
    }

    @Test
    void linesShowFrontierAndReasons() {
        VitModel model = Fixtures.micro("vit_gap_micro");
        FileSizeBound bound = new FileSizeBound(model.config(), base(model), TRIVET, 0);
        MixedPrecision mixed = MixedPrecision.ofAverageBits(groups(model, 4, 5, 6), bound, 5);
        List<String> lines = mixed.lines();
        assertThat(lines).filteredOn(line -> line.startsWith("*")).hasSize(1);
        for (MixedPrecision.Choice choice : mixed.choices()) {
            assertThat(lines)
                    .anyMatch(line -> line.startsWith(choice.module())
                            && line.contains(choice.bits() + " bits: ")
                            && line.endsWith(choice.reason()));
        }
    }
}
