package dev.trivet.bench;

import dev.trivet.data.ImageFolder;
import dev.trivet.data.LabelledImages;
import dev.trivet.format.ModelFile;
import dev.trivet.image.ImagePreprocessor;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.kernel.Kernels;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import dev.trivet.ptq.CalibrationImages;
import dev.trivet.ptq.LiuSettings;
import dev.trivet.ptq.Quantization;
import dev.trivet.ptq.QuantizationPlan;
import dev.trivet.ptq.SearchListener;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.Random;

/**
 * The search of {@code --method liu2021} at 8 bits, its candidates scored by integer kernels and by float32 products of the same codes
 * (fake quantization), turn by turn in one process. Prints seconds, the ratio of medians, and how many scales the two choose
 * differently.
 */
public final class SearchComparison {
    private SearchComparison() {}

    /**
     * Measures and prints.
     *
     * @param args MODEL CALIBRATION IMAGES ROUNDS
     */
    public static void main(String[] args) {
        if (args.length != 4) {
            System.err.println("usage: SearchComparison MODEL CALIBRATION IMAGES ROUNDS");
            System.exit(2);
        }
        int images = Integer.parseInt(args[2]);
        int rounds = Integer.parseInt(args[3]);
        int threads = Runtime.getRuntime().availableProcessors();
        VitModel model = ModelFile.read(Path.of(args[0]), Optional.empty()).model();
        Kernels integers = KernelSelection.get().kernels();
        Kernels floats = new FakeQuantizedKernels(integers);
        CalibrationImages calibration = calibration(model, Path.of(args[1]), images);
        double[][] seconds = new double[2][rounds];
        VitModel[] results = new VitModel[2];
        for (int round = 0; round < rounds; round++) {
            for (int kind = 0; kind < 2; kind++) {
                long start = System.nanoTime();
                results[kind] = new Quantization(
                                model,
                                kind == 0 ? integers : floats,
                                calibration,
                                QuantizationPlan.uniform(model.config().geometry(), 8, 8, 8),
                                LiuSettings.defaults(0, threads))
                        .run(SearchListener.SILENT);
                seconds[kind][round] = (System.nanoTime() - start) / 1e9;
                System.out.printf(
                        "round %d, %s: %.1f s%n",
                        round + 1, kind == 0 ? "integer kernels" : "float32 fake quantization", seconds[kind][round]);
            }
        }
        double a = median(seconds[0]);
        double b = median(seconds[1]);
        System.out.printf(
                "%s, %d images, %d threads%nmedian: integer kernels %.1f s, float32 fake quantization %.1f s, ratio %.2f%n",
                integers.description(), images, threads, a, b, b / a);
        System.out.printf(
                "layers with another weight or input scale: %d of %d%n", differing(results), layers(results[0]));
    }

    private static CalibrationImages calibration(VitModel model, Path folder, int count) {
        LabelledImages all = ImageFolder.unlabelled(folder);
        List<Integer> order = new ArrayList<>();
        for (int i = 0; i < all.size(); i++) {
            order.add(i);
        }
        Collections.shuffle(order, new Random(0));
        ImagePreprocessor preprocessor = new ImagePreprocessor(model.config().preprocessing());
        return new CalibrationImages() {
            @Override
            public int size() {
                return Math.min(count, all.size());
            }

            @Override
            public void load(int index, MemorySegment input) {
                preprocessor.apply(all.read(order.get(index)), input, 0);
            }
        };
    }

    private static double median(double[] values) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        return sorted[sorted.length / 2];
    }

    private static long layers(VitModel model) {
        return model.linears().values().stream()
                .filter(LinearLayer.Quantized.class::isInstance)
                .count();
    }

    private static long differing(VitModel[] models) {
        return models[0].linears().values().stream()
                .filter(layer -> layer instanceof LinearLayer.Quantized x
                        && models[1].linear(layer.name()) instanceof LinearLayer.Quantized y
                        && (!Arrays.equals(x.scales(), y.scales()) || !x.input().equals(y.input())))
                .count();
    }
}
