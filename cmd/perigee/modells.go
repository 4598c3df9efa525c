package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"perigee/bundle/app"
	"perigee/models"
)

func newModelLs(e *env) *cobra.Command {
	return daemonCommand(e, "ls", "List the networks on board, or those of the ground and what satellites fly",
		`Ls asks the daemon of a satellite which networks are in its slots: the one that flies
and the one to go back to. The daemon of a ground station tells which networks it keeps,
and what each satellite flies by its last receipt or telemetry. A node that runs neither
application has no networks, and the exit code is 1.`,
		`  perigee model ls
  perigee model ls -o json --socket /run/perigee/sat.sock`, runModelLs)
}

// networksView is what model ls shows.
type networksView struct {
	OnBoard  *app.OnBoard  `json:"on_board,omitempty"`
	OnGround *app.OnGround `json:"on_ground,omitempty"`
}

func runModelLs(ctx context.Context, e *env, client app.Client) error {
	s, err := client.Status(ctx)
	if err != nil {
		return fmt.Errorf("model ls: %w", err)
	}
	if s.OnBoard == nil && s.OnGround == nil {
		return fmt.Errorf("model ls: node %s runs neither a satellite nor a ground application, so it has no networks; "+
			"name the socket of one that does with --socket", s.Node)
	}
	err = e.print(networksView{s.OnBoard, s.OnGround}, func(w io.Writer) {
		if s.OnBoard != nil {
			slotTable(w, s.OnBoard)
		}
		if s.OnBoard != nil && s.OnGround != nil {
			fmt.Fprintln(w)
		}
		if s.OnGround != nil {
			groundTables(w, s)
		}
	})
	for _, failure := range failures(s) {
		if err == nil {
			err = fmt.Errorf("model ls: the daemon could not %s", failure)
		}
	}
	return err
}

// failures lists why networks are not known.
func failures(s app.Status) []string {
	var all []string
	if s.OnBoard != nil && s.OnBoard.Failure != "" {
		all = append(all, s.OnBoard.Failure)
	}
	if s.OnGround != nil && s.OnGround.Failure != "" {
		all = append(all, s.OnGround.Failure)
	}
	return all
}

func slotTable(w io.Writer, on *app.OnBoard) {
	row(w, "SLOT", "NETWORK", "VERSION", "UPDATE", "STATE")
	for _, s := range on.Slots {
		state := "to go back to"
		if s.Active {
			state = "flies" + probationText(s)
		}
		row(w, s.Slot, shortHash(s.Network), s.Version, updateText(s), state)
	}
}

// updateText is the number of the update that brought a network.
func updateText(s app.Slot) string {
	if s.Update == 0 {
		return "-"
	}
	return fmt.Sprint(s.Update)
}

func groundTables(w io.Writer, s app.Status) {
	flown := map[string]int{}
	for _, f := range s.OnGround.Satellites {
		flown[f.Network]++
	}
	row(w, "NETWORK", "SIZE", "SATELLITES")
	for _, k := range s.OnGround.Networks {
		row(w, shortHash(k.Network), bytesText(k.Bytes), flown[k.Network])
	}
	section(w, "SATELLITES")
	row(w, "SATELLITE", "FLIES", "VERSION", "SAID AGO")
	for _, f := range s.OnGround.Satellites {
		row(w, f.Satellite, shortHash(f.Network), f.Version, ago(s.Now, f.At))
	}
}

// networkRows are the rows of status about networks.
func networkRows(w io.Writer, s app.Status) {
	if s.OnBoard != nil {
		row(w, "model", activeText(s.OnBoard))
	}
	if g := s.OnGround; g != nil {
		text := "not started"
		if g.Stage != "" {
			text = fmt.Sprintf("%s, version %d", g.Stage, g.Version)
		}
		if g.Waiting != "" {
			text += "; " + g.Waiting
		}
		row(w, "learning", text)
	}
}

// activeText says what flies.
func activeText(on *app.OnBoard) string {
	if on.Failure != "" {
		return "FAILED: " + on.Failure
	}
	for _, s := range on.Slots {
		if s.Active {
			return fmt.Sprintf("version %d, %s, slot %s%s", s.Version, shortHash(s.Network), s.Slot, probationText(s))
		}
	}
	return "none yet"
}

func probationText(s app.Slot) string {
	if s.PicturesLeft == 0 {
		return ""
	}
	return fmt.Sprintf(", %d pictures of probation left", s.PicturesLeft)
}

// shortHash prints the beginning of a network's name, and what is none as it is.
func shortHash(name string) string {
	h, err := models.ParseHash(name)
	if err != nil {
		return name
	}
	return h.Short()
}
