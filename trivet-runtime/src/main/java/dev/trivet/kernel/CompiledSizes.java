package dev.trivet.kernel;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The compiled matmuls of one product, told apart by their {@link OnednnMatmul#size} and {@link OnednnMatmul#stride}. There are few: batch sizes, and the shares into which
 * threads cut them. Finding one takes no lock and makes no object, however many threads with different sizes take turns. Thread-safe.
 */
final class CompiledSizes {
    private volatile OnednnMatmul[] known = new OnednnMatmul[0];

    /** The first of that size, whatever its stride. */
    @Nullable
    OnednnMatmul find(int size) {
        for (OnednnMatmul matmul : known) {
            if (matmul.size == size) {
                return matmul;
            }
        }
        return null;
    }

    @Nullable
    OnednnMatmul find(int size, int stride) {
        for (OnednnMatmul matmul : known) {
            if (matmul.size == size && matmul.stride == stride) {
                return matmul;
            }
        }
        return null;
    }

    synchronized void add(OnednnMatmul matmul) {
        if (find(matmul.size, matmul.stride) == null) {
            OnednnMatmul[] more = Arrays.copyOf(known, known.length + 1);
            more[known.length] = matmul;
            known = more;
        }
    }
}
