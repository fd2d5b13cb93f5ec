package madang;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;

/** What a connection has heard, in order. Whoever waits for something is woken by each new piece. */
final class Heard<T> {
    private static final Duration LIMIT = Duration.ofSeconds(30);

    private final List<T> pieces = new ArrayList<>();

    synchronized void add(T piece) {
        pieces.add(piece);
        notifyAll();
    }

    synchronized List<T> all(Predicate<T> condition) {
        return pieces.stream().filter(condition).toList();
    }

    /** Waits until so many pieces fulfil the condition, and answers with the last of them. */
    synchronized T await(String what, int times, Predicate<T> condition) throws InterruptedException {
        long deadline = System.nanoTime() + LIMIT.toNanos();
        while (all(condition).size() < times) {
            long leftMs = Duration.ofNanos(deadline - System.nanoTime()).toMillis();
            if (leftMs <= 0) throw new AssertionError("waited in vain for " + what + " among " + pieces);
            wait(leftMs);
        }
        return all(condition).get(times - 1);
    }

    T await(String what, Predicate<T> condition) throws InterruptedException {
        return await(what, 1, condition);
    }
}
