package dev.trivet.kernel;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The compiled matmuls of one product, told apart by their {@link OnednnMatmul#size}. There are few: batch sizes, and the shares into which
 * threads cut them. Finding one takes no lock and makes no object, however many threads with different sizes take turns. Thread-safe.
 */
final class CompiledSizes {
    private volatile OnednnMatmul[] known = new OnednnMatmul[0];

    @Nullable
    OnednnMatmul find(int size) {
        for (OnednnMatmul matmul : known) {
            if (matmul.size == size) {
                return matmul;
            }
        }
        return null;
    }

    synchronized void add(OnednnMatmul matmul) {
        if (find(matmul.size) == null) {
            OnednnMatmul[] more = Arrays.copyOf(known, known.length + 1);
            more[known.length] = matmul;
            known = more;
        }
    }
}
