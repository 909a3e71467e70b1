package dev.trivet.cli;

import dev.trivet.data.ImageFolder;
import dev.trivet.model.ImageNetClasses;
import dev.trivet.model.VitModel;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/** What fine-tuning starts from: the model as it is where the data have its classes, else with new heads. */
final class FineTuningStart {
    private FineTuningStart() {}

    /**
     * Classes are the model's if there are as many and they bear its names, ImageNet's ids, or no names but their numbers.
     *
     * @param data folder of the data, with its training split
     * @param messages told of a new head
     */
    static VitModel of(VitModel model, Path data, PrintWriter messages) {
        List<String> names = PackedDataset.isPacked(data)
                ? PackedDataset.classNames(data)
                : ImageFolder.open(data.resolve("train")).classNames();
        int classes = model.geometry().classes();
        if (names.size() == classes && fit(names, ModelArgument.labels(model.config()))) {
            return model;
        }
        messages.printf(
                Locale.ROOT,
                "the head of %s (%,d classes) is replaced by a new one for %,d classes%n",
                model.config().architecture(),
                classes,
                names.size());
        return model.forClasses(names);
    }

    private static boolean fit(List<String> names, List<String> labels) {
        List<String> numbers =
                IntStream.range(0, names.size()).mapToObj(Integer::toString).toList();
        return labels.isEmpty()
                || List.of(labels, numbers, ImageNetClasses.ids()).contains(names);
    }
}
