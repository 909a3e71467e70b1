package dev.trivet.runtime;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.OnednnKernels;
import dev.trivet.kernel.ReferenceKernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.FloatCheckpoint;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.VitModel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import org.junit.jupiter.api.Assumptions;

/** Where test data lies and which kernels this machine can test. */
final class Fixtures {
    private Fixtures() {}

    static Path golden(String model) {
        return Path.of(System.getProperty("trivet.goldens"), model);
    }

    /** A path under the shared data, or a skipped test. */
    static Path shared(String path) {
        Path found = Path.of(System.getProperty("trivet.shared"), path);
        Assumptions.assumeTrue(Files.exists(found), "no " + path + " beside this checkout");
        return found;
    }

    static VitModel load(Path folder) {
        return load(folder, OptionalInt.empty());
    }

    /** @param imageSize in place of the checkpoint's */
    static VitModel load(Path folder, OptionalInt imageSize) {
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(folder, Optional.empty(), imageSize)) {
            return VitModel.read(checkpoint);
        }
    }

    /** The block that an attention product belongs to. */
    static ModelUnit.Block block(VitModel model, String product) {
        return model.geometry().units().stream()
                .filter(ModelUnit.Block.class::isInstance)
                .map(ModelUnit.Block.class::cast)
                .filter(b -> b.scores().equals(product) || b.mixing().equals(product))
                .findFirst()
                .orElseThrow();
    }

    /** All providers that load here; those that do not are named on standard error. */
    static List<Kernels> providers() {
        List<Kernels> found = new ArrayList<>(List.of(new ReferenceKernels(), new VectorKernels()));
        try {
            found.add(new OnednnKernels());
        } catch (UnsatisfiedLinkError | UnsupportedOperationException e) {
            System.err.println("oneDNN is not tested on this machine: " + e.getMessage());
        }
        return found;
    }
}
