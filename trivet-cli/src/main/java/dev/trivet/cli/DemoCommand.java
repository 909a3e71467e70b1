package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.cli.bench.Contender;
import dev.trivet.cli.bench.Rates;
import dev.trivet.cli.bench.Rounds;
import dev.trivet.cli.bench.TestImages;
import dev.trivet.cli.bench.TrivetCaller;
import dev.trivet.data.LabelledImages;
import dev.trivet.format.ModelFile;
import dev.trivet.format.Provenance;
import dev.trivet.format.QuantizedModelFile;
import dev.trivet.kernel.Kernels;
import dev.trivet.ptq.Quantization;
import dev.trivet.ptq.QuantizationPlan;
import dev.trivet.ptq.TrivetSettings;
import dev.trivet.runtime.Evaluation;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.TrivetModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code trivet demo}: the whole way on the embedded model and images; every figure is measured in this run. */
@Command(
        name = "demo",
        description = "Quantizes the embedded Fashion-MNIST model to 8 bits and compares it with float32.",
        mixinStandardHelpOptions = true)
@SuppressWarnings("NullAway.Init") // picocli sets the fields
final class DemoCommand implements Callable<Integer> {
    private static final int CALIBRATION_IMAGES = 128;
    /** Small images: larger batches keep the products busy. */
    private static final int BATCH = 16;

    private static final int ROUNDS = 11;
    private static final double TURN_SECONDS = 0.4;

    @Mixin
    CommonOptions common;

    @Option(
            names = {"-o", "--output"},
            paramLabel = "DIR",
            description = "Keep the models and images there; they work with every other command.")
    @Nullable
    Path output;

    @Option(names = "--pack", hidden = true, paramLabel = "DIR", description = "Cut the embedded images out of DIR.")
    @Nullable
    Path wholeSet;

    @Override
    public Integer call() throws InterruptedException {
        Path folder = folder();
        try {
            if (wholeSet != null) {
                if (output == null) {
                    throw new BadInputException("--pack needs a folder to write to; name one with -o DIR");
                }
                DemoFiles.pack(wholeSet, folder);
            } else {
                run(folder);
            }
        } finally {
            if (output == null) {
                delete(folder);
            }
        }
        return 0;
    }

    private Path folder() {
        try {
            return output == null ? Files.createTempDirectory("trivet-demo") : Files.createDirectories(output);
        } catch (IOException e) {
            throw new BadInputException(
                    "the demo's folder cannot be made (" + BadInputException.reason(e)
                            + "); name another place with -o DIR",
                    e);
        }
    }

    private void run(Path folder) throws InterruptedException {
        DemoFiles.unpack(folder);
        ModelFile source = ModelFile.read(folder, Optional.empty());
        Kernels kernels = common.kernels();
        Path quantizedPath = folder.resolve("quantized-w8a8.safetensors");
        long start = System.nanoTime();
        quantize(folder, source, kernels, quantizedPath);
        double seconds = (System.nanoTime() - start) / 1e9;
        ModelFile quantized = ModelFile.read(quantizedPath, Optional.empty());
        LabelledImages images = PackedDataset.test(folder, source.model().config());
        try (TrivetModel a = new TrivetModel(source.model(), kernels, BATCH);
                TrivetModel b = new TrivetModel(quantized.model(), kernels, BATCH);
                Progress progress = new Progress(common.err())) {
            Evaluation result = Evaluation.run(
                    List.of(a, b),
                    images,
                    common.threads(),
                    true,
                    (done, total) -> progress.update("evaluating", done, total));
            progress.update("measuring", 0, 1);
            a.warmUp();
            b.warmUp();
            List<Rates> rates = rates(List.of(a.executor(), b.executor()));
            progress.update("measuring", 1, 1);
            print(List.of(source, quantized), rates, kernels, result, seconds);
        }
        if (output != null) {
            common.err().println("kept in " + folder);
        }
    }

    /** Of each model in the same rounds, once it is warm: the evaluation is shorter than its compilation takes. */
    private List<Rates> rates(List<ModelExecutor> executors) throws InterruptedException {
        Map<ModelExecutor, Contender> contenders = new LinkedHashMap<>();
        try {
            for (ModelExecutor executor : executors) {
                float[] pixels = TestImages.of(executor.geometry(), BATCH, 1);
                List<TrivetCaller> callers = Stream.generate(() -> new TrivetCaller(executor, pixels, BATCH))
                        .limit(common.threads())
                        .toList();
                contenders.put(executor, new Contender(callers, BATCH));
            }
            return List.copyOf(
                    new Rounds(ROUNDS, TURN_SECONDS, 0).measure(contenders).values());
        } finally {
            contenders.values().forEach(Contender::close);
        }
    }

    private void quantize(Path folder, ModelFile source, Kernels kernels, Path target) {
        CalibrationSample sample = CalibrationSample.draw(
                PackedDataset.train(folder),
                folder,
                CALIBRATION_IMAGES,
                0,
                source.model().config().preprocessing(),
                true);
        Quantization quantization = new Quantization(
                source.model(),
                kernels,
                sample,
                QuantizationPlan.uniform(source.model().geometry(), 8, 8, 8),
                TrivetSettings.defaults(0, common.threads()));
        try (Progress progress = new Progress(common.err())) {
            QuantizedModelFile.write(
                    target,
                    quantization.run(progress::update),
                    new Provenance(Map.of(
                            "tool",
                            "trivet " + TrivetCommand.VERSION + " demo",
                            "source_sha256",
                            Sha256.of(source.files()),
                            "calibration_sha256",
                            sample.sha256(),
                            "calibration_images",
                            String.valueOf(CALIBRATION_IMAGES),
                            "seed",
                            "0")));
        }
    }

    private void print(List<ModelFile> files, List<Rates> rates, Kernels kernels, Evaluation result, double seconds) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("images", result.images());
        fields.put("float32", side(files, rates, result, 0));
        fields.put("int8", side(files, rates, result, 1));
        fields.put("agreement", result.agreement());
        fields.put("logit_sqnr_db", result.logitSqnrDb());
        fields.put("quantize_seconds", seconds);
        fields.put("threads", common.threads());
        fields.put("kernels", kernels.description());
        common.print(fields, () -> {
            common.out()
                    .printf(
                            Locale.ROOT,
                            "ViT on Fashion-MNIST (%,d parameters), quantized on %d training images in %s, scored on %,d test images%n%n",
                            files.getFirst().model().parameters(),
                            CALIBRATION_IMAGES,
                            Progress.duration(seconds),
                            result.images());
            Table table = new Table("", "top-1", "agreement", "bytes on disk", "images/s", "kernels");
            table.row(row(files, rates, result, 0, "float32", "", kernels.name() + " f32"));
            String agreement = String.format(Locale.ROOT, "%.2f %%", 100 * result.agreement());
            table.row(row(files, rates, result, 1, "8-bit", agreement, kernels.name() + " u8s8"));
            table.print(common.out());
            common.out().println();
            common.out()
                    .printf(
                            Locale.ROOT,
                            "both rows from files on disk; images/s in batches of %d, %d threads, %s%n",
                            BATCH,
                            common.threads(),
                            kernels.description());
        });
    }

    private static Map<String, Object> side(List<ModelFile> files, List<Rates> rates, Evaluation result, int model) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("top1", (double) result.scores().get(model).top1() / result.images());
        fields.put("top5", (double) result.scores().get(model).top5() / result.images());
        fields.put("bytes", files.get(model).bytes());
        fields.put("images_per_second", rates.get(model).median());
        return fields;
    }

    private static String[] row(
            List<ModelFile> files,
            List<Rates> rates,
            Evaluation result,
            int model,
            String name,
            String agreement,
            String kernels) {
        return new String[] {
            name,
            String.format(
                    Locale.ROOT, "%.2f %%", 100.0 * result.scores().get(model).top1() / result.images()),
            agreement,
            String.format(Locale.ROOT, "%,d", files.get(model).bytes()),
            String.format(Locale.ROOT, "%.0f", rates.get(model).median()),
            kernels
        };
    }

    private static void delete(Path folder) {
        try (Stream<Path> files = Files.walk(folder)) {
            files.sorted(Comparator.reverseOrder())
                    .forEach(path -> path.toFile().delete());
        } catch (IOException e) {
            // A leftover in the temporary folder harms nobody.
        }
    }
}
