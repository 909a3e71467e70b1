package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.format.ModelFile;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import dev.trivet.ptq.FileSizeBound;
import dev.trivet.ptq.MethodSettings;
import dev.trivet.ptq.MixedPrecision;
import dev.trivet.ptq.ModuleSensitivity;
import dev.trivet.ptq.Quantization;
import dev.trivet.ptq.QuantizationPlan;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * One quantization from a drawn sample to a file on disk, with a checkpoint after each unit. The file depends on nothing but
 * the facts it carries: the same facts give the same bytes, in one run or several.
 */
final class QuantizationRun {
    private final CommonOptions common;
    private final VitModel model;
    private final Kernels kernels;
    private final MethodOptions method;
    private final MixedOptions mixed;
    private final QuantizationPlan base;
    private final CalibrationSample sample;
    private final Path output;
    private final Map<String, String> facts = new TreeMap<>();

    /** @param plan what to do; mixed precision replaces the widths of its modules */
    QuantizationRun(
            CommonOptions common,
            ModelFile source,
            Kernels kernels,
            MethodOptions method,
            MixedOptions mixed,
            QuantizationPlan plan,
            CalibrationSample sample,
            Path output) {
        this.common = common;
        this.kernels = kernels;
        this.method = method;
        this.mixed = mixed;
        this.base = plan;
        this.sample = sample;
        this.output = output;
        model = source.model().withLabels(ModelArgument.labels(source.model().config()));
        facts.put("tool", "trivet " + TrivetCommand.VERSION);
        facts.put("source_sha256", Sha256.of(source.files()));
        facts.put("calibration_sha256", sample.sha256());
        facts.put("calibration_images", String.valueOf(sample.size()));
        facts.put("seed", String.valueOf(sample.seed()));
        facts.put("settings", method.description(source.model().geometry()));
        facts.put("mixed", mixed.description(method.method));
        facts.put("plan_sha256", Sha256.of(PlanFile.json(method.method.toString(), plan)));
        facts.put("image_size", String.valueOf(source.model().geometry().imageSize()));
        facts.put("kernels", kernels.description());
    }

    Quantization quantization(QuantizationPlan plan) {
        return new Quantization(model, kernels, sample, plan, method.settings(sample.seed(), common.threads()));
    }

    /** Does it, from the start or from where an earlier run was cut off; nothing if that had finished. */
    void run(boolean resume, Progress progress) {
        PartialModel partial = new PartialModel(output, facts);
        if (resume && !partial.exists() && isFinished()) {
            common.err().println(output + " is finished");
            return;
        }
        Optional<PartialModel.Found> found = resume ? partial.find() : Optional.empty();
        if (!resume && partial.exists()) {
            common.err()
                    .println(partial.file() + " of an unfinished run is replaced; --resume would have continued it");
        }
        if (resume && found.isEmpty()) {
            common.err().println("nothing to resume (there is no " + partial.file() + "); starting anew");
        }
        String name = method.method.toString();
        SearchReport report = found.map(f -> SearchReport.parse(f.report())).orElseGet(() -> SearchReport.of(name));
        QuantizationPlan plan = found.map(f -> parse(partial.file(), f.plan())).orElseGet(() -> plan(report, progress));
        String document = PlanFile.json(name, plan);
        Quantization quantization = quantization(plan);
        Quantization.Begun begun =
                found.map(f -> new Quantization.Begun(f.model(), f.units())).orElseGet(quantization::start);
        if (found.isPresent()) {
            common.err()
                    .println("taken up after " + begun.units()
                            + (begun.units() == 1 ? " finished unit" : " finished units"));
        } else {
            partial.write(0, begun.model(), document, report.json());
        }
        VitModel quantized;
        Thread advice = new Thread(() ->
                common.err().println("trivet: stopped; the same command with --resume goes on from " + partial.file()));
        Runtime.getRuntime().addShutdownHook(advice);
        try {
            quantized = quantization.run(
                    begun,
                    progress::update,
                    report::add,
                    (units, reached) -> partial.write(units, reached, document, report.json()));
        } finally {
            forget(advice);
        }
        Provenance provenance = new Provenance(facts, Optional.of(document), Optional.of(report.json()));
        QuantizedModelFile.write(output, quantized, provenance);
        mixed.checkSize(output);
        partial.delete();
    }

    /** Whether an earlier run with the same facts, which give the same bytes, has got to its end: one of several seeds, say. */
    private boolean isFinished() {
        if (!Files.isRegularFile(output)) {
            return false;
        }
        try {
            return ModelFile.read(output, Optional.empty())
                    .provenance()
                    .map(p -> p.facts().equals(facts))
                    .orElse(false);
        } catch (BadInputException _) {
            return false; // something else, which is replaced
        }
    }

    private static void forget(Thread advice) {
        try {
            Runtime.getRuntime().removeShutdownHook(advice);
        } catch (IllegalStateException _) {
            // The JVM is going down, which is what the advice is for.
        }
    }

    private QuantizationPlan parse(Path file, String document) {
        try {
            return PlanFile.parse(document, model.geometry());
        } catch (IllegalArgumentException e) {
            throw new BadInputException(
                    file, "is no checkpoint (" + e.getMessage() + ")", "leave --resume out to start again", e);
        }
    }

    private QuantizationPlan plan(SearchReport report, Progress progress) {
        if (!mixed.mixed) {
            return base;
        }
        int modules = 2
                * (int) model.geometry().units().stream()
                        .filter(ModelUnit.Block.class::isInstance)
                        .count();
        String document = PlanFile.json(method.method.toString(), base);
        Provenance known = new Provenance(facts, Optional.of(document), Optional.of("{}"));
        // A plan's widths have at most one digit more than those of the base plan.
        long provenance = FileSizeBound.provenanceBytes(known)
                + 2L * base.operators().size()
                + SearchReport.bound(base.operators().size(), modules, 10);
        MethodSettings settings = method.settings(sample.seed(), common.threads());
        FileSizeBound bound = new FileSizeBound(model.config(), base, settings, provenance);
        mixed.checkTarget(bound);
        ModuleSensitivity sensitivity = quantization(base)
                .sensitivity(
                        mixed.candidates(bound),
                        (what, done, total) -> progress.update("sensitivity, " + what, done, total));
        MixedPrecision choice = mixed.choose(sensitivity, bound, method.method);
        report.add(sensitivity, choice, mixed.perturbation(method.method));
        List<String> lines = choice.lines();
        lines.forEach(common.err()::println);
        return base.withModuleBits(choice.bits());
    }
}
